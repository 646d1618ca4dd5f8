package integration

import (
	"fmt"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// way is a client's way to the host: who asks, and at which address.
type way struct {
	name, address, sees string
	from                *lab.Host
}

func ways(host, client *lab.Host) []way {
	return []way{
		{"from another host, IPv4", "192.0.2.1", "192.0.2.2", client},
		{"from another host, IPv6", "[2001:db8::1]", "2001:db8::2", client},
		{"from the host itself, its IPv4 address", "192.0.2.1", "192.0.2.1", host},
		{"from the host itself, its IPv6 address", "[2001:db8::1]", "2001:db8::1", host},
		{"from the host itself, 127.0.0.1", "127.0.0.1", "127.0.0.1", host},
		{"from the host itself, ::1", "[::1]", "::1", host},
	}
}

func TestMappedPortReachesTheServerFromEverywhere(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(network, func(t *testing.T) {
				host, client := b.pair(t)
				host.Echo(network, "192.0.2.1:8443", "[2001:db8::1]:8443", "127.0.0.1:8443", "[::1]:8443")
				added := b.add(t, host, "443:8443/"+network)
				for _, w := range ways(host, client) {
					answer, err := w.from.Ask(network, "", w.address+":443")
					if err != nil || answer.Server.Port() != 8443 || answer.Client.Addr().String() != w.sees {
						t.Errorf("%s: %+v, %v; want the server on 8443 to see %s", w.name, answer, err, w.sees)
					}
				}
				if live := b.live(t, host); len(live.Mappings) != 1 || live.Mappings[0].Connections != 6 {
					t.Errorf("after 6 connections the kernel has counted %+v", live)
				}
				b.change(t, host, rules.Change{Remove: added})
				for _, w := range ways(host, client) {
					if answer, err := w.from.Ask(network, "", w.address+":443"); err != nil || !answer.Refused {
						t.Errorf("%s: after the removal: %+v, %v; want it refused", w.name, answer, err)
					}
				}
			})
		}
	})
}

func TestRangeMapsPortByPort(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		for _, line := range []string{"8000-8010:9000-9010/tcp,udp",
			"7000-7010:9000-9010/tcp,udp --source 192.0.2.0/24"} {
			b.add(t, host, line)
		}
		for port := 9000; port <= 9010; port++ {
			for _, network := range []string{"tcp", "udp"} {
				host.Echo(network, fmt.Sprintf("192.0.2.1:%d", port))
			}
		}
		for i := range 11 {
			for _, network := range []string{"tcp", "udp"} {
				for _, base := range []int{8000, 7000} {
					answer, err := client.Ask(network, "", fmt.Sprintf("192.0.2.1:%d", base+i))
					if err != nil || int(answer.Server.Port()) != 9000+i {
						t.Errorf("%s %d: %+v, %v; want %d", network, base+i, answer, err, 9000+i)
					}
				}
			}
		}
	})
}

// The server binds to one of the host's addresses, or to all; the packet keeps the address it was sent to.
func TestHostWithManyAddresses(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		for i := 2; i <= 8; i++ {
			host.Address("eth0", fmt.Sprintf("192.0.2.%d/24", 10+i))
		}
		b.add(t, host, "443:8443", "192.0.2.13:444:8444")
		host.Echo("tcp", "192.0.2.14:8443", "0.0.0.0:8444")
		if answer, err := client.Ask("tcp", "", "192.0.2.14:443"); err != nil ||
			answer.Server.String() != "192.0.2.14:8443" {
			t.Errorf("the server on a secondary address: %+v, %v", answer, err)
		}
		if answer, err := client.Ask("tcp", "", "192.0.2.15:443"); err != nil || !answer.Refused {
			t.Errorf("an address the server is not bound to: %+v, %v; want it refused", answer, err)
		}
		for i := 2; i <= 8; i++ {
			address := fmt.Sprintf("192.0.2.%d", 10+i)
			answer, err := client.Ask("tcp", "", address+":444")
			if want := address == "192.0.2.13"; err != nil || answer.Refused == want {
				t.Errorf("listen address 192.0.2.13, asked %s: %+v, %v", address, answer, err)
			}
		}
	})
}

// One client keeps opening connections to all the addresses: none may clash with another in the tuple of the one
// server.
func TestManyConnectionsToManyAddresses(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40099", "net.ipv4.tcp_tw_reuse=1")
		var addresses []string
		for i := range 8 {
			address := fmt.Sprintf("192.0.2.%d", 20+i)
			host.Address("eth0", address+"/24")
			addresses = append(addresses, address)
		}
		b.add(t, host, "443:8443")
		host.Echo("tcp", "0.0.0.0:8443")
		for i := range 80 * len(addresses) { // with 100 ports to come from, each port meets each address
			address := addresses[i%len(addresses)]
			answer, err := client.Ask("tcp", "", address+":443")
			if err != nil || answer.Server.String() != address+":8443" {
				t.Fatalf("connection %d to %s: %+v, %v", i, address, answer, err)
			}
		}
	})
}

// Packet rule 1: a router's forwarded :443, and its own outgoing :443, are nobody's business.
func TestRouterTrafficIsUntouched(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		n := lab.New(t)
		client, router, server := n.Host("client"), n.Host("router"), n.Host("server")
		n.Link(router, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
		n.Link(router, "198.51.100.1/24", "2001:db8:1::1/64", server, "198.51.100.2/24", "2001:db8:1::2/64")
		router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		client.Route("default", "192.0.2.1")
		client.Run("ip", "-6", "route", "add", "default", "via", "2001:db8::1")
		server.Route("default", "198.51.100.1")
		server.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
		b.add(t, router, "443:8443/tcp,udp")
		for _, network := range []string{"tcp", "udp"} {
			router.Echo(network, "192.0.2.1:8443", "[2001:db8::1]:8443")
			server.Echo(network, "198.51.100.2:443", "[2001:db8:1::2]:443", "198.51.100.2:8443", "[2001:db8:1::2]:8443")
			for _, from := range []*lab.Host{client, router} {
				for _, address := range []string{"198.51.100.2", "[2001:db8:1::2]"} {
					answer, err := from.Ask(network, "", address+":443")
					if err != nil || answer.Server.Port() != 443 {
						t.Errorf("%s from %s to %s :443: %+v, %v; want port 443", network, from.Name, address, answer,
							err)
					}
				}
			}
			if answer, err := client.Ask(network, "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
				t.Errorf("%s to the router itself: %+v, %v; want port 8443", network, answer, err)
			}
		}
	})
}

func TestLinkLocalAddress(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Address("eth0", "fe80::1/64")
		client.Address("eth0", "fe80::2/64")
		b.add(t, host, "443:8443")
		host.Echo("tcp", "[::]:8443")
		if answer, err := client.Ask("tcp", "", "[fe80::1%eth0]:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v; want the server on 8443", answer, err)
		}
	})
}
