package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// textOf writes parts as a person would, and not as New does.
func textOf(p Parts) []string {
	ports := func(p Ports) string {
		switch {
		case p == Ports{}:
			return ""
		case p.Last == 0 || p.Last == p.First:
			return fmt.Sprint(p.First)
		}
		return fmt.Sprintf("%d-%d", p.First, p.Last)
	}
	addr := func(a netip.Addr) string {
		if a.Is4() {
			return a.String()
		}
		return "[" + a.String() + "]"
	}
	spec := ""
	if p.Listen.IsValid() {
		spec = addr(p.Listen) + ":"
	}
	spec += ports(p.ListenPorts) + ":"
	var targets []string
	for _, t := range p.Targets {
		if t.Addr.IsValid() {
			targets = append(targets, addr(t.Addr)+":"+ports(t.Ports))
		} else {
			targets = append(targets, ports(t.Ports))
		}
	}
	spec += strings.Join(targets, ",") + ports(p.TargetPorts)
	spec += map[Protocols]string{0: "/tcp", TCP: "/tcp", UDP: "/udp", TCP | UDP: "/tcp,udp"}[p.Protocols]
	words := []string{spec}
	var sources []string
	for _, s := range p.Sources {
		sources = append(sources, s.String())
	}
	for _, o := range [...]struct{ flag, value string }{
		{"--name", p.Name}, {"--source", strings.Join(sources, ",")}, {"--interface", p.Interface},
		{"--owner", p.Owner},
	} {
		if o.flag == "--source" { // where the families stand in the canonical order
			words = append(words, map[Families][]string{IPv4: {"-4"}, IPv6: {"-6"}}[p.Families]...)
		}
		if o.value != "" {
			words = append(words, o.flag+"="+o.value)
		}
	}
	for _, o := range [...]struct {
		flag  string
		given bool
	}{
		{"--hide", p.Hide}, {"--forward", p.Forward}, {"--sticky", p.Sticky},
		{"--temporary", p.Temporary},
	} {
		if o.given {
			words = append(words, o.flag)
		}
	}
	return words
}

// randomParts draws parts that are often illegal.
func randomParts(t *rapid.T) Parts {
	text := func(label string, values ...string) string {
		return rapid.SampledFrom(append(values, "", "", "")).Draw(t, label)
	}
	addr := func(label string, values ...string) netip.Addr {
		a, _ := netip.ParseAddr(text(label, values...))
		return a
	}
	ports := func(label string) Ports {
		n := rapid.SampledFrom([]uint16{1, 1, 2, 3, 443, 65534, 65535, 0}).Draw(t, label)
		last := n + rapid.SampledFrom([]uint16{0, 0, 0, 1, 2, 65535}).Draw(t, label+" width")
		if n > 0 && last == 0 {
			last = n
		}
		return Ports{n, last}
	}
	flag := func(label string) bool { return rapid.IntRange(0, 7).Draw(t, label) == 0 }
	p := Parts{
		Listen: addr("listen", "192.0.2.7", "2001:db8::7", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:192.0.2.1",
			"fe80::1%eth0",
			"255.255.255.255", "127.0.0.1", "::1"),
		ListenPorts: ports("listen ports"), TargetPorts: ports("target ports"),
		Protocols: rapid.SampledFrom([]Protocols{0, TCP, UDP, TCP | UDP}).Draw(t, "protocols"),
		Families:  rapid.SampledFrom([]Families{0, 0, IPv4, IPv6, BothFamilies}).Draw(t, "families"),
		Interface: text("interface", "eth0", "-x", "#x", "lo", "a b", "a\x00b", "sixteen-bytes-xx", "eth*", "x\xff"),
		Name:      text("name", "shop", "a.b-c_9", "-x", "a b", "--owner", "名"),
		Owner:     text("owner", "www-data", "1000", "01000", "4294967295", "a:b", "-x"),
		Hide:      flag("hide"), Forward: flag("forward"), Sticky: flag("sticky"),
		Temporary: flag("temporary"),
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "sources") {
		s := rapid.SampledFrom([]string{
			"10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32", "0.0.0.0/0", "::/0", "10.0.0.5/8",
			"::ffff:10.0.0.0/104", "::ffff:0.0.0.0/8",
		}).Draw(t, "source")
		p.Sources = append(p.Sources, netip.MustParsePrefix(s))
	}
	if p.TargetPorts != (Ports{}) && rapid.IntRange(0, 5).Draw(t, "several") == 0 {
		p.Targets, p.TargetPorts = []Target{{Ports: p.TargetPorts}, {Ports: ports("other ports")}}, Ports{}
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "targets") {
		if a := addr("target", "10.0.0.5", "10.0.0.6", "2001:db8::5", "127.0.0.1", "192.0.2.7", "0.0.0.0",
			"fe80::1%a"); a.IsValid() {
			to := ports("ports of the target")
			for to == (Ports{}) {
				to = ports("ports of the target, again")
			}
			p.Targets, p.TargetPorts = append(p.Targets, Target{a, to}), Ports{}
		}
	}
	return p
}

// New makes of parts what Parse reads from their text, and refuses what it refuses, in the same words.
func TestNewAgreesWithParse(t *testing.T) { rapid.Check(t, newAgreesWithParse) }

func FuzzNewAgreesWithParse(f *testing.F) { f.Fuzz(rapid.MakeFuzz(newAgreesWithParse)) }

func newAgreesWithParse(t *rapid.T) {
	p := randomParts(t)
	words := textOf(p)
	var parser Parser
	want, wantErr := parser.ParseWords(words)
	got, err := New(p)
	var invalid, wantInvalid *InvalidError
	switch {
	case (err == nil) != (wantErr == nil):
		t.Fatalf("%q: New says %v, Parse says %v", words, err, wantErr)
	case err == nil:
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: New makes %q, Parse %q", words, got, want)
		}
	case !errors.As(err, &invalid) || !errors.As(wantErr, &wantInvalid) || *invalid != *wantInvalid:
		t.Fatalf("%q: New says %+v, Parse says %+v", words, invalid, wantInvalid)
	}
}

// Whatever a mapping is read from, New makes the same of its parts; and what it prints is its spec and its options.
func FuzzPartsOfParse(f *testing.F) {
	for _, line := range []string{
		"443:8443", "8000-8010:9000-9010/udp --name x -4",
		"[2001:db8::7]:443:[2001:db8::5]:1,[2001:db8::6]:2 --sticky --forward",
		"1:2 -6 --source 10.0.0.0/8,::/0 --interface=#x --temporary", "1:2 --owner 01000 --hide",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := parseLine(line)
		if err != nil {
			return
		}
		again, err := New(m.Parts())
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%q: its parts make %q, %v", m, again, err)
		}
		texts := []string{m.Spec()}
		for _, o := range m.Options() {
			texts = append(texts, o.String())
		}
		if got := strings.Join(texts, " "); got != m.String() {
			t.Errorf("%q: its options are %q", m, got)
		}
	})
}

// What text cannot say is refused, too; and nothing is shared with the caller.
func TestNew(t *testing.T) {
	one, other := Ports{First: 443}, Ports{First: 8443}
	host := Target{netip.MustParseAddr("10.0.0.5"), other}
	for want, p := range map[string]Parts{
		":/tcp: a port is missing":                      {},
		"443:8443/: not a protocol":                     {ListenPorts: one, TargetPorts: other, Protocols: 4},
		"443:8443/tcp: families: neither IPv4 nor IPv6": {ListenPorts: one, TargetPorts: other, Families: 4},
		"443:8443/tcp: --source: not a network": {
			ListenPorts: one, TargetPorts: other, Sources: make([]netip.Prefix, 1)},
		"443:10.0.0.5:/tcp: 10.0.0.5: the target's port": {ListenPorts: one, Targets: []Target{{Addr: host.Addr}}},
		"443:8443/tcp: 8443: not a target":               {ListenPorts: one, Targets: []Target{{Ports: other}}},
		"443:10.0.0.5:8443/tcp: 8443: ports of this host beside targets": {
			ListenPorts: one, TargetPorts: other, Targets: []Target{host}},
	} {
		_, err := New(p)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || !strings.HasPrefix(err.Error(), want) || invalid.Remedy() == "" {
			t.Errorf("%+v: got %v (%+v), want %q", p, err, invalid, want)
		}
	}

	p := Parts{ListenPorts: one, Targets: []Target{host}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	m, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	p.Targets[0], p.Sources[0] = Target{}, netip.Prefix{}
	if again := m.Parts(); again.Targets[0] != (Target{host.Addr, Ports{8443, 8443}}) || again.Sources[0].Bits() != 8 {
		t.Errorf("what was handed in changes the mapping: %+v", again)
	}
}

// Options come in the order of the canonical text.
func TestOptions(t *testing.T) {
	for line, want := range map[string]string{
		"443:8443": "",
		"443:8443/tcp,udp --hide --source 10.0.0.0/8 --owner www-data -4 --name shop": "name=shop source=10.0.0.0/8 " +
			"owner=www-data hide=",
		"443:8443 -6 --interface=-x --temporary": "ipv6= interface=-x temporary=",
	} {
		var got []string
		for _, o := range must(t, line)[0].Options() {
			got = append(got, o.Name+"="+o.Value)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// A mapping with targets that have an address has no ports on this host.
func TestTargets(t *testing.T) {
	for line, want := range map[string]struct {
		here   bool
		port   uint16 // for the listen port 444
		others int
	}{
		"443-445:8443-8445":                                  {true, 8444, 0},
		"443-445:10.0.0.5:8443-8445":                         {false, 0, 1},
		"443-445:10.0.0.5:8443-8445,10.0.0.6:9443-9445":      {false, 0, 2},
		"443-445:127.0.0.1:8443-8445":                        {false, 0, 1},
		"443-445:8443-8445,9443-9445":                        {false, 0, 2},
		"443-445:8443-8445/udp --name x --source 10.0.0.0/8": {true, 8444, 0},
	} {
		m := must(t, line)[0]
		ports, here := m.TargetPorts()
		port, ok := m.TargetOf(444)
		if here != want.here || ok != here || here != (ports.Count() == 3) || port != want.port ||
			len(m.Targets()) != want.others {
			t.Errorf("%s: %v, %v; %d, %v; %v", line, ports, here, port, ok, m.Targets())
		}
		for _, no := range []uint16{0, 442, 446} {
			if _, ok := m.TargetOf(no); ok {
				t.Errorf("%s: has a port for %d", line, no)
			}
		}
	}
}
