package flows

import (
	"net/netip"
	"testing"

	"portmap/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestArrivalAndLocalAddresses(t *testing.T) {
	n := lab.New(t)
	host, left, right := n.Host("host"), n.Host("left"), n.Host("right")
	n.Link(host, "192.0.2.1/24", "2001:db8::1/64", left, "192.0.2.2/24", "2001:db8::2/64")
	n.Link(host, "198.51.100.1/24", right, "198.51.100.2/24")
	host.Route("default", "192.0.2.2")
	host.Address("lo", "192.0.2.100/32")
	host.Run("ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
	host.Do(func() {
		asked := &network{}
		for _, test := range []struct {
			source, destination, iface string
			known                      bool
		}{
			{"192.0.2.2", "192.0.2.1", "eth0", true},
			{"2001:db8::2", "2001:db8::1", "eth0", true},
			{"198.51.100.2", "198.51.100.1", "eth1", true},
			{"10.0.0.1", "192.0.2.1", "eth0", true},
			{"10.0.0.1", "198.51.100.1", "", false},    // replies leave by the other interface
			{"198.51.100.2", "192.0.2.1", "", false},   // the address of the other interface
			{"192.0.2.2", "192.0.2.100", "", false},    // the address of no interface
			{"192.0.2.1", "192.0.2.1", "", true},       // the host itself
			{"192.0.2.1", "198.51.100.1", "", true},    // the same, and another address of its own
			{"2001:db8::1", "2001:db8::1", "", true},   // the same over IPv6
			{"203.0.113.9", "192.0.2.1", "", true},     // a local network
			{"192.0.2.2", "203.0.113.9", "", false},    // to a local network, which is on no interface
			{"2001:db8:f::", "2001:db8::1", "", false}, // there is no route back
		} {
			iface, known := asked.arrival(netip.MustParseAddr(test.source), netip.MustParseAddr(test.destination))
			if known != test.known || known && iface != test.iface {
				t.Errorf("%+v: %q, known: %t", test, iface, known)
			}
		}
		for text, want := range map[string]bool{
			"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": true, "127.0.0.9": true, "::1": true,
			"203.0.113.9": true,
			"192.0.2.2":   false, "10.0.0.1": false, "2001:db8::2": false,
		} {
			if got := asked.isLocal(netip.MustParseAddr(text)); got != want {
				t.Errorf("%s: local: %t; want %t", text, got, want)
			}
		}
	})
}
