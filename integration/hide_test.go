package integration

import (
	"fmt"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// A hidden target port is closed to other hosts and open to this one; the mapping works for all. What is open directly
// goes on over TCP, and ends over UDP.
func TestHiddenTarget(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", everywhere)
		host.Echo("udp", everywhere)
		host.Chat("[::]:8444")
		talk, flow := client.Talk("192.0.2.1:8444"), client.Flow("udp", "192.0.2.1:8443")
		talk.Must(t, "directly")
		if a, err := flow.Ask(); err != nil || !a.Server.IsValid() {
			t.Fatalf("directly: %+v, %v", a, err)
		}
		added := b.add(t, host, "443-444:8443-8444/tcp,udp --hide")
		talk.Must(t, "which was open before")
		if a, err := flow.Ask(); err == nil {
			t.Errorf("a direct flow goes on: %+v", a)
		}
		mapped, direct := askAll(host, client, 443, silence*5), askAll(host, client, 8443, silence*5)
		for _, w := range ways(host, client) {
			for _, network := range []string{"tcp", "udp"} {
				way := network + " " + w.name
				if a := mapped[way]; !a.Server.IsValid() {
					t.Errorf("%s, by the mapping: %+v", way, a)
				}
				if a := direct[way]; a.Server.IsValid() != (w.from == host) || w.from == client && !a.Refused {
					t.Errorf("%s, directly: %+v", way, a)
				}
			}
		}
		b.change(t, host, rules.Change{Remove: added})
		if a, err := client.Ask("tcp", "", "192.0.2.1:8443"); err != nil || !a.Server.IsValid() {
			t.Errorf("after the removal: %+v, %v", a, err)
		}
	})
}

// The port is hidden only where the mapping is.
func TestHiddenWhereTheMappingIs(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Address("eth0", "192.0.2.11/24")
		host.Echo("tcp", everywhere)
		for mapping, open := range map[string][]string{
			"192.0.2.1:443:8443 --hide":                  {"192.0.2.11", "[2001:db8::1]"},
			"443:8443 -6 --hide":                         {"192.0.2.1", "192.0.2.11"},
			"443:8443 --interface eth1 --hide":           {"192.0.2.1", "192.0.2.11", "[2001:db8::1]"},
			"443:8443 --interface eth0 --hide":           nil,
			"443:8443/udp --hide":                        {"192.0.2.1", "192.0.2.11", "[2001:db8::1]"},
			"443:8443 --source 10.0.0.0/8 --hide":        {"[2001:db8::1]"},
			"8443:9443 --hide":                           nil, // the mapping's own port; nobody is behind it
			"192.0.2.1:443:8443 --interface eth0 --hide": {"192.0.2.11", "[2001:db8::1]"},
		} {
			b.change(t, host, rules.Change{Reset: true, Add: lab.Mappings(t, mapping)})
			for _, address := range []string{"192.0.2.1", "192.0.2.11", "[2001:db8::1]"} {
				a, err := client.Ask("tcp", "", fmt.Sprintf("%s:8443", address))
				want := false
				for _, o := range open {
					want = want || o == address
				}
				if err != nil || a.Server.IsValid() != want || a.Refused == want {
					t.Errorf("%s: directly to %s: %+v, %v; want it open: %t", mapping, address, a, err, want)
				}
			}
		}
	})
}
