package rules

import (
	"errors"
	"net/netip"
	"testing"
)

func users(name string) (uint32, error) {
	if name == "www" {
		return 33, nil
	}
	return 0, errors.New("no such user")
}

func TestOwnerIsResolved(t *testing.T) {
	parser := Parser{Users: users}
	for line, want := range map[string]struct {
		uid   uint32
		known bool
	}{
		"1:2 --owner www": {33, true}, "1:2 --owner 1000": {1000, true}, "1:2 --owner 0": {0, true},
		"1:2": {noUser, false},
	} {
		m, err := parser.Parse(line)
		uid, known := m.UID()
		if err != nil || uid != want.uid || known != want.known {
			t.Errorf("%s: uid %d, %v, %v; want %+v", line, uid, known, err, want)
		}
	}
	var invalid *InvalidError
	_, err := parser.Parse("1:2 --owner nobodyknows")
	if !errors.As(err, &invalid) || err.Error() != "1:2: --owner nobodyknows: no such user" || invalid.Remedy() == "" {
		t.Errorf("an unknown user: %v", err)
	}
}

// A name that is not resolved is read and kept, and lets nobody but root answer.
func TestOwnerIsResolvedLater(t *testing.T) {
	m := must(t, "1:2 --owner www")[0]
	if _, known := m.UID(); known || m.MayAnswer(33) || !m.MayAnswer(0) {
		t.Errorf("not resolved: known %v, 33 may answer %v, root %v", known, m.MayAnswer(33), m.MayAnswer(0))
	}
	now, err := m.Resolve(users)
	if err != nil || !now.Equal(m) || !now.MayAnswer(33) || !now.MayAnswer(0) || now.MayAnswer(34) {
		t.Errorf("resolved: %v, %v", now, err)
	}
	if _, known := m.UID(); known {
		t.Error("the mapping that was resolved has changed")
	}
	var invalid *InvalidError
	if _, err := must(t, "1:2 --owner other")[0].Resolve(users); !errors.As(err, &invalid) {
		t.Errorf("an unknown user: %v", err)
	}
}

// Mappings that differ only in their clients have one server, and so one owner.
func TestOneServerHasOneOwner(t *testing.T) {
	const other = "443:8443/tcp --source 10.0.0.0/8 --owner a"
	at447 := [...]string{
		1: "192.0.2.1:447:8447/tcp --interface a --owner a", 2: "192.0.2.2:447:8447/tcp --interface a --owner b",
	}
	const address = "192.0.2.1:445:8445/tcp --source 10.0.0.0/8 --owner a"
	const at448 = "192.0.2.1:448:127.0.0.1:8448/tcp --owner a"
	for line, with := range map[string]string{
		"443:8443 --source 192.168.0.0/16 --owner b":                   other,
		"443:8443 --source 192.168.0.0/16":                             other,
		"440-444:8440-8444 -4 --source 192.168.0.0/16":                 other,
		"192.0.2.1:443:8443/tcp,udp --source 192.168.0.0/16 --owner b": other,
		"443:8443 --source 192.168.0.0/16 --owner a":                   "",
		"443:9443 --source 192.168.0.0/16 --owner b":                   "",
		"443:8443/udp --source 192.168.0.0/16 --owner b":               "",
		"[2001:db8::1]:443:8443 --owner b":                             "",
		"80:8443 --owner b":                                            "",
		"192.0.2.1:445:8445 --source 192.168.0.0/16 --owner b":         address,
		"192.0.2.2:445:8445 --source 192.168.0.0/16 --owner b":         "",
		"445:8445 --source 192.168.0.0/16 --owner b":                   address,
		"446:8446 --interface b":                                       "446:8446/tcp --interface a --owner a",
		"446:8446 --interface b --owner a":                             "",
		"447:8447 --source 192.168.0.0/16 --interface b --owner z":     at447[1],
		"447:8447 --source 172.16.0.0/12 --interface b --owner a":      at447[2],
		"192.0.2.3:447:8447 --source 172.16.0.0/12 --interface b":      "",
		"192.0.2.2:448:127.0.0.1:8448 --owner b":                       at448,
		"192.0.2.2:448:127.0.0.1:8448":                                 at448,
		"192.0.2.2:448:127.0.0.1:8448 --owner a":                       "",
		"192.0.2.2:448:127.0.0.1:9448 --owner b":                       "",
	} {
		set, err := NewSet(must(t, other, "192.0.2.1:445:8445 --source 10.0.0.0/8 --owner a",
			"446:8446 --interface a --owner a", "192.0.2.1:447:8447 --interface a --owner a",
			"192.0.2.2:447:8447 --interface a --owner b", at448)...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = set.Add(must(t, line)...)
		var owners *OwnerError
		switch {
		case with == "" && err != nil:
			t.Errorf("%s: %v", line, err)
		case with != "" && (!errors.As(err, &owners) || owners.With.String() != with || owners.Remedy() == ""):
			t.Errorf("%s: %v; want the owner of %s to be in the way", line, err, with)
		}
	}
}

// The work grows with the number of mappings, not with its square.
func TestOwnersScale(t *testing.T) {
	work := func(n int) int {
		var mappings []Mapping
		for i := range n {
			listen := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			mappings = append(mappings, must(t, listen.String()+":443:8443 --interface a --owner b")...)
		}
		f := fitting{ctx: t.Context(), mappings: mappings}
		if err := f.owners(); err != nil || len(f.out) > 0 {
			t.Fatal(err, f.out)
		}
		return f.steps
	}
	if small, large := work(1000), work(4000); large > 5*small {
		t.Errorf("%d steps for 1000 mappings, %d for 4000", small, large)
	}
}

func TestHiddenPorts(t *testing.T) {
	set, err := NewSet(must(t, "443:8443/tcp,udp --hide", "192.0.2.1:80:8080 --hide", "81:8081 --interface eth0 --hide",
		"82:8082 -6 --hide", "83:8083 --source 10.0.0.0/8 --hide", "84-86:8084-8086/udp --hide", "8085:9085/udp",
		"87:8087", "88:127.0.0.1:8088 --hide", "89:8089,9089 --hide")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, to, iface string
		protocol        Protocols
		want            Refusal
	}{
		{"TCP", "192.0.2.1:8443", "eth0", TCP, Reset},
		{"UDP", "192.0.2.1:8443", "eth0", UDP, Unreachable},
		{"from this host", "192.0.2.1:8443", "", TCP, NotRefused},
		{"the listen address", "192.0.2.1:8080", "eth0", TCP, Reset},
		{"another address", "192.0.2.2:8080", "eth0", TCP, NotRefused},
		{"another protocol", "192.0.2.1:8080", "eth0", UDP, NotRefused},
		{"the interface", "192.0.2.1:8081", "eth0", TCP, Reset},
		{"another interface", "192.0.2.1:8081", "eth1", TCP, NotRefused},
		{"the family", "[2001:db8::1]:8082", "eth0", TCP, Reset},
		{"another family", "192.0.2.1:8082", "eth0", TCP, NotRefused},
		{"whatever the source", "192.0.2.1:8083", "eth0", TCP, Reset},
		{"a range", "192.0.2.1:8086", "eth0", UDP, Unreachable},
		{"a port that another mapping takes", "192.0.2.1:8085", "eth0", UDP, NotRefused},
		{"not hidden", "192.0.2.1:8087", "eth0", TCP, NotRefused},
		{"the port of a loopback target", "192.0.2.1:8088", "eth0", TCP, Reset},
		{"the second target", "192.0.2.1:9089", "eth0", TCP, Reset},
	} {
		p := Packet{Protocol: c.protocol, Source: netip.MustParseAddr("203.0.113.1"),
			Destination: netip.MustParseAddrPort(c.to), DestinationLocal: true, Interface: c.iface}
		if d, _ := set.Route(p); d.Refused != c.want || d.AnsweredBy(1234) != c.want {
			t.Errorf("%s: %v; want %v", c.what, d.Refused, c.want)
		}
		p.DestinationLocal = false
		if _, decided := set.Route(p); decided {
			t.Errorf("%s: a packet to another host is refused", c.what)
		}
	}
}

func TestSquatterIsSilent(t *testing.T) {
	set, err := NewSet(must(t, "443:8443 --owner 1000", "80:8080")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to   string
		uid  uint32
		want Refusal
	}{
		{"192.0.2.1:443", 1000, NotRefused}, {"192.0.2.1:443", 0, NotRefused}, {"192.0.2.1:443", 1234, Silent},
		{"192.0.2.1:80", 1234, NotRefused},
	} {
		d, mapped := set.Route(Packet{Protocol: TCP, Source: netip.MustParseAddr("203.0.113.1"),
			Destination: netip.MustParseAddrPort(c.to), DestinationLocal: true, Interface: "eth0"})
		if got := d.AnsweredBy(c.uid); !mapped || got != c.want {
			t.Errorf("%s, a server of uid %d: %v; want %v", c.to, c.uid, got, c.want)
		}
	}
}
