package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		first, second string
		over          string // what both claim; empty where they can stand beside each other
	}{
		{"443:8443", "443:9443", "443/tcp"},
		{"443:8443/tcp,udp", "443:9443/udp", "443/udp"},
		{"443:8443", "443:8443 --name x", "443/tcp"},
		{"400-500:1400-1500", "450-600:2450-2600", "450-500/tcp"},
		{"443:8443", "192.0.2.7:443:9443", "443/tcp"},
		{"443:8443 --source 10.0.0.0/8", "443:9443", "443/tcp"},
		{"443:8443 --source 10.0.0.0/8", "443:9443 --source 10.1.0.0/16", "443/tcp"},
		{"443:8443 --interface eth0", "443:9443", "443/tcp"},
		{"443:8443 --interface eth0", "443:9443 --source 10.0.0.0/8", "443/tcp"},
		{"1:2 --name x", "3:4 --name x", "the name x"},

		{"443:8443", "443:8443/udp", ""},
		{"443:8443 -4", "443:9443 -6", ""},
		{"192.0.2.7:443:8443", "192.0.2.8:443:9443", ""},
		{"192.0.2.7:443:8443", "443:9443 -6", ""},
		{"443:8443 --source 10.0.0.0/8", "443:9443 --source 192.168.0.0/16,2001:db8::/32", ""},
		{"443:8443 --interface eth0", "443:9443 --interface eth1", ""},
		{"400-500:1400-1500", "501-600:2501-2600", ""},
		{"1:3", "2:3", ""},
	} {
		for _, order := range [][2]string{{c.first, c.second}, {c.second, c.first}} {
			pair := must(t, order[0], order[1])
			_, err := NewSet(pair...)
			var conflict *ConflictError
			switch {
			case c.over == "" && err != nil:
				t.Errorf("%v: %v", order, err)
			case c.over != "" && (!errors.As(err, &conflict) || conflict.Over != c.over ||
				!conflict.With.Equal(pair[0]) || !conflict.Mapping.Equal(pair[1])):
				t.Errorf("%v: got %v, want a conflict over %s", order, err, c.over)
			}
		}
	}
}

func TestLoops(t *testing.T) {
	for lines, loop := range map[string]bool{
		"443:8443|8443:443":                         true,
		"1:2|2:3|3:1":                               true,
		"1:2|2:3|3:4|4:2":                           true,
		"1-5:2-6|6:1":                               true,
		"443:8443/tcp,udp|8443:443/udp":             true,
		"192.0.2.7:443:8443|8443:443":               true,
		"443:8443 --source 10.0.0.0/8|8443:443":     true,
		"1:2|2:3|3:4":                               false,
		"443:8443|8443:443/udp":                     false,
		"443:8443 -4|8443:443 -6":                   false,
		"192.0.2.7:443:8443|192.0.2.8:8443:443":     false,
		"1:2 --interface a|2:1 --interface b":       false,
		"443:10.0.0.5:8443|8443:443":                false,
		"1-5:2-6":                                   false,
		"443:8443,9443|9443:443":                    true,
		"1:2,3|2:4,5|5:1":                           true,
		"1-2:11-12,21-22|22:2":                      true,
		"1:2,3|2:4,5|5:6":                           false,
		"443:127.0.0.1:8443|8443:443":               false,
		"1:2 --source 10.0.0.0/8|2:1 --source ::/0": false,
	} {
		_, err := NewSet(must(t, strings.Split(lines, "|")...)...)
		var e *LoopError
		if errors.As(err, &e) != loop || !loop && err != nil {
			t.Errorf("%s: %v, want a loop: %v", lines, err, loop)
		}
	}
}

// Each of these is at the edge of what there can be, and takes no time to speak of.
func TestLargeSets(t *testing.T) {
	shift := must(t, "1000-60000:1001-60001")
	if _, err := NewSet(shift...); err != nil {
		t.Error(err)
	}
	var chain, single []string
	for i := 60000; i > 1000; i-- {
		chain = append(chain, fmt.Sprintf("%d:%d", i, i+1))
		single = append(single, fmt.Sprintf("%d:%d --name n%d", i, 61000+i%1000, i))
	}
	for name, lines := range map[string][]string{"a long chain": chain, "no chain": single} {
		if _, err := NewSet(must(t, lines...)...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewSet(must(t, append(chain, "60001:1001")...)...); err == nil {
		t.Error("a loop of 59,001 mappings is not seen")
	}
}

// So many ports can be mapped, and not one more.
func TestMostPorts(t *testing.T) {
	const each = 65534
	var lines []string
	for i := range MaxPorts / each {
		lines = append(lines, fmt.Sprintf("192.0.2.%d:1-%d:2-%d", i+1, each, each+1))
	}
	lines = append(lines, fmt.Sprintf("192.0.2.98:1-%d:2-%d", MaxPorts%each, MaxPorts%each+1))
	if _, err := NewSet(must(t, lines...)...); err != nil {
		t.Errorf("%d ports: %v", MaxPorts, err)
	}
	var invalid *InvalidError
	if _, err := NewSet(must(t, append(lines, "192.0.2.99:1:2")...)...); !errors.As(err, &invalid) {
		t.Errorf("one more: %v", err)
	}
}

func TestSetIsAList(t *testing.T) {
	ms := must(t, "443:8443", "80:8080 --name web", "443:8443/udp")
	set, err := NewSet(append(ms, ms[0])...)
	if err != nil || set.Len() != 3 {
		t.Fatalf("a mapping that is there twice: %v, %v", set.Mappings(), err)
	}
	replaced, old, err := set.Replace(must(t, "443:9443/tcp,udp", "81:8081")...)
	if err != nil || replaced.Len() != 3 || len(old) != 2 || len(old[0]) != 2 || len(old[1]) != 0 {
		t.Errorf("Replace: %v, %v, %v", replaced.Mappings(), old, err)
	}
	for _, more := range [][]string{{"1:2 --name new", "3:4 --name new"}, {"443:1", "443:2"}, {"1:2", "2:1"}} {
		if _, _, err := set.Replace(must(t, more...)...); err == nil {
			t.Errorf("Replace accepts %v beside each other", more)
		}
	}
	if renamed, old, err := set.Replace(must(t, "81:8081 --name web")...); err != nil || renamed.Len() != 3 ||
		len(old[0]) != 1 || !old[0][0].Equal(ms[1]) {
		t.Errorf("Replace, by its name: %v, %v, %v", renamed.Mappings(), old, err)
	}
	change := set.Diff(replaced)
	if got := fmt.Sprint(change.Remove,
		change.Add); got != "[443:8443/tcp 443:8443/udp] [443:9443/tcp,udp 81:8081/tcp]" {
		t.Errorf("Diff: %s", got)
	}
	if rest := set.Remove(ms[0]); rest.Len() != 2 || rest.Has(ms[0]) || !set.Has(ms[0]) {
		t.Errorf("Remove: %v", rest.Mappings())
	}
}

func TestFind(t *testing.T) {
	set, err := NewSet(must(t, "443:8443 --name shop", "443:8443/udp", "192.0.2.7:80:8080", "8000-8010:9000-9010",
		"90:1 --source 10.0.0.0/8 --name 443", "90:1 --source 11.0.0.0/8")...)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"shop": 1, "443/tcp": 1, "443/udp": 1, "https/tcp": 1, "443": 3, "192.0.2.7:80": 1, "80": 1, "8000-8010": 1,
		"443:8443/tcp": 1, "443:8443": 1,
		"90": 2, "90:1": 2, "90:1 --source 11.0.0.0/8": 1, "90:1 --source 12.0.0.0/8": 0, "8005": 0, "nosuch": 0, "": 0,
		"444": 0, "443/tcp,udp": 0,
	} {
		if found := set.Find(text, testServices); len(found) != want {
			t.Errorf("%q finds %v, want %d", text, found, want)
		}
	}
}

func TestOracle(t *testing.T) {
	set, err := NewSet(must(t, "443:8443", "8000-8010:9000-9010/tcp,udp", "192.0.2.7:80:8080", "81:8081 -6",
		"82:8082 --source 10.0.0.0/8", "83:8083 --interface eth0", "84:10.0.0.5:8084,10.0.0.6:8085",
		"85:8085,9085", "86:10.0.0.5:8086,[2001:db8::5]:8086", "87:127.0.0.1:8087")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, source, destination, iface string
		protocol                         Protocols
		elsewhere                        bool
		want                             string
	}{
		{what: "to this host", source: "198.51.100.1", destination: "192.0.2.1:443", iface: "eth0", protocol: TCP,
			want: "192.0.2.1:8443"},
		{what: "from this host", source: "::1", destination: "[::1]:443", protocol: TCP, want: "[::1]:8443"},
		{what: "forwarded", source: "198.51.100.1", destination: "203.0.113.1:443", iface: "eth0", protocol: TCP,
			elsewhere: true},
		{what: "the other protocol", source: "198.51.100.1", destination: "192.0.2.1:443", protocol: UDP},
		{what: "a port of a range", source: "198.51.100.1", destination: "192.0.2.1:8003", protocol: UDP,
			want: "192.0.2.1:9003"},
		{what: "the listen address", source: "198.51.100.1", destination: "192.0.2.7:80", protocol: TCP,
			want: "192.0.2.7:8080"},
		{what: "another address", source: "198.51.100.1", destination: "192.0.2.8:80", protocol: TCP},
		{what: "the family", source: "2001:db8::1", destination: "[2001:db8::2]:81", protocol: TCP,
			want: "[2001:db8::2]:8081"},
		{what: "the other family", source: "198.51.100.1", destination: "192.0.2.1:81", protocol: TCP},
		{what: "a source", source: "10.1.2.3", destination: "192.0.2.1:82", protocol: TCP, want: "192.0.2.1:8082"},
		{what: "an IPv4 source as an IPv6 one", source: "::ffff:10.1.2.3", destination: "192.0.2.1:82", protocol: TCP,
			want: "192.0.2.1:8082"},
		{what: "another source", source: "11.1.2.3", destination: "192.0.2.1:82", protocol: TCP},
		{what: "the interface", source: "11.1.2.3", destination: "192.0.2.1:83", iface: "eth0", protocol: TCP,
			want: "192.0.2.1:8083"},
		{what: "another interface", source: "11.1.2.3", destination: "192.0.2.1:83", iface: "eth1", protocol: TCP},
		{what: "an interface, from this host", source: "192.0.2.1", destination: "192.0.2.1:83", protocol: TCP},
		{what: "several targets", source: "11.1.2.3", destination: "192.0.2.1:84", protocol: TCP,
			want: "10.0.0.5:8084,10.0.0.6:8085"},
		{what: "several targets on this host", source: "11.1.2.3", destination: "192.0.2.1:85", protocol: TCP,
			want: "192.0.2.1:8085,192.0.2.1:9085"},
		{what: "the targets of the family", source: "2001:db8::1", destination: "[2001:db8::2]:86", protocol: TCP,
			want: "[2001:db8::5]:8086"},
		{what: "to another host, from a loopback address", source: "::1", destination: "[::1]:86", protocol: TCP},
		{what: "loopback", source: "11.1.2.3", destination: "192.0.2.1:87", protocol: TCP, want: "127.0.0.1:8087"},
	} {
		decision, mapped := set.Route(Packet{
			Protocol: c.protocol, Source: netip.MustParseAddr(c.source),
			Destination:      netip.MustParseAddrPort(c.destination),
			DestinationLocal: !c.elsewhere, Interface: c.iface,
		})
		var to []string
		for _, a := range decision.To {
			to = append(to, a.String())
		}
		if got := strings.Join(to, ","); got != c.want || mapped != (c.want != "") {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

func randomMapping(t *rapid.T) (Mapping, bool) {
	first := rapid.IntRange(1, 12).Draw(t, "first")
	width := rapid.IntRange(0, 3).Draw(t, "width")
	target := rapid.IntRange(1, 20).Draw(t, "target")
	line := fmt.Sprintf("%s%d-%d:%d-%d/%s%s%s%s",
		rapid.SampledFrom([]string{"", "", "192.0.2.1:", "192.0.2.2:", "[2001:db8::1]:"}).Draw(t, "listen"), first,
		first+width, target, target+width,
		rapid.SampledFrom([]string{"tcp", "udp", "tcp,udp"}).Draw(t, "protocols"),
		rapid.SampledFrom([]string{"", "", " -4", " -6"}).Draw(t, "family"),
		rapid.SampledFrom([]string{"", "", " --source 10.0.0.0/8", " --source 10.1.0.0/16,2001:db8::/32",
			" --source 192.168.0.0/16"}).Draw(t, "source"),
		rapid.SampledFrom([]string{"", "", " --interface a", " --interface b"}).Draw(t, "interface"))
	m, err := Parse(line)
	return m, err == nil
}

func randomPacket(t *rapid.T) Packet {
	v6 := rapid.Bool().Draw(t, "v6")
	sources, destinations := []string{"10.1.0.1", "10.2.0.1", "192.168.0.1", "203.0.113.1"},
		[]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	if v6 {
		sources, destinations = []string{"2001:db8::9", "2001:db9::9"}, []string{"2001:db8::1", "2001:db8::2"}
	}
	return Packet{
		Protocol: rapid.SampledFrom([]Protocols{TCP, UDP}).Draw(t, "protocol"),
		Source:   netip.MustParseAddr(rapid.SampledFrom(sources).Draw(t, "from")),
		Destination: netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(destinations).Draw(t, "to")),
			uint16(rapid.IntRange(1, 16).Draw(t, "port"))),
		Interface:        rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "iface"),
		DestinationLocal: true,
	}
}

// Two mappings are in conflict exactly where some packet could be both's: so of a Set, at most one claims a packet.
func TestAtMostOneMappingClaimsAPacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set Set
		for range rapid.IntRange(1, 10).Draw(t, "mappings") {
			if m, ok := randomMapping(t); ok {
				if next, err := set.Add(m); err == nil {
					set = next
				}
			}
		}
		for range 20 {
			packet := randomPacket(t)
			claimed := 0
			for _, m := range set.Mappings() {
				if m.Claims(packet) {
					claimed++
				}
			}
			if _, routed := set.Route(packet); claimed > 1 || routed != (claimed == 1) {
				t.Fatalf("%d of %v claim %+v", claimed, set.Mappings(), packet)
			}
		}
	})
}

// What a change adds and takes away leads from the one Set to the other, and its inverse back.
func TestDiffLeadsThere(t *testing.T) {
	draw := func(t *rapid.T) Set {
		var set Set
		for range rapid.IntRange(0, 6).Draw(t, "mappings") {
			if m, ok := randomMapping(t); ok {
				if next, err := set.Add(m); err == nil {
					set = next
				}
			}
		}
		return set
	}
	same := func(a, b Set) bool { return len(Minus(a.mappings, b.mappings))+len(Minus(b.mappings, a.mappings)) == 0 }
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		change := a.Diff(b)
		there, err := a.Remove(change.Remove...).Add(change.Add...)
		if err != nil || !same(there, b) {
			t.Fatalf("from %v by %v to %v, %v", a, change, there, err)
		}
		back := change.Inverse()
		home, err := there.Remove(back.Remove...).Add(back.Add...)
		if err != nil || !same(home, a) {
			t.Fatalf("and back to %v, %v", home, err)
		}
	})
}

func BenchmarkNewSet60000(b *testing.B) {
	var lines []string
	for i := range 60000 {
		lines = append(lines, fmt.Sprintf("%d:%d", i+1, 60001+i%5000))
	}
	mappings := must(b, lines...)
	for b.Loop() {
		if _, err := NewSet(mappings...); err != nil {
			b.Fatal(err)
		}
	}
}
