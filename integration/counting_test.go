package integration

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// The same traffic is counted alike by all: connections, not packets, of both families and protocols.
func TestCountersAreEqual(t *testing.T) {
	const want = "71:7071/tcp 8\n72:7071/tcp 0\n81:8081/tcp 0\n442:8442/udp 0\n443:8443/tcp,udp 15\n444:8444/tcp 0\n" +
		"8000-8010:9000-9010/tcp,udp 13"
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		for _, network := range []string{"tcp", "udp"} {
			for _, port := range []string{"8443", "9001", "9002", "7071"} {
				host.Echo(network, "192.0.2.1:"+port, "[2001:db8::1]:"+port, "127.0.0.1:"+port)
			}
		}
		b.add(t, host, "443:8443/tcp,udp", "8000-8010:9000-9010/tcp,udp", "81:8081")
		b.add(t, host, "71:7071 --source 192.0.2.0/25,10.0.0.0/8,2001:db8::/64")
		b.add(t, host, "72:7071 --source 198.51.100.0/24,203.0.113.0/24")
		ask := func(from *lab.Host, network, address string, times int) {
			for range times {
				if _, err := from.Ask(network, "", address); err != nil {
					t.Fatal(err)
				}
			}
		}
		ask(client, "tcp", "192.0.2.1:443", 5)
		ask(client, "tcp", "[2001:db8::1]:443", 4)
		ask(client, "udp", "192.0.2.1:443", 3)
		ask(host, "tcp", "127.0.0.1:443", 2)
		ask(client, "udp", "[2001:db8::1]:8001", 6)
		ask(client, "tcp", "192.0.2.1:8002", 7)
		ask(client, "tcp", "192.0.2.1:71", 8)
		ask(client, "tcp", "192.0.2.1:72", 2) // from elsewhere: not its own
		flow := client.Flow("udp", "192.0.2.1:443")
		for range 20 { // one flow
			if _, err := flow.Ask(); err != nil {
				t.Fatal(err)
			}
		}
		b.add(t, host, "444:8444", "442:8442/udp") // neighbours
		var lines []string
		for _, m := range b.live(t, host).Mappings {
			lines = append(lines, fmt.Sprintf("%s %d", m.Spec(), m.Connections))
		}
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("counted are\n%s\nwant\n%s", got, want)
		}
	})
}

// A client that uses one port of its own for a connection to the server's port and for one to the public port: both
// would be the same to connection tracking, were it to leave that port as it is. Each port of a range still leads to
// its own server, with many clients at once. (`DNAT --to-destination :9000-9010/8000`, iptables' own way to shift a
// range, takes a neighbour.)
func TestRangeUnderClashes(t *testing.T) {
	const ports, clients = 10, 40
	try := func(host, client *lab.Host) (wrong, lost int) {
		for i := range ports {
			host.Chat(fmt.Sprintf("192.0.2.1:%d", 9000+i))
			host.Echo("udp", fmt.Sprintf("192.0.2.1:%d", 9000+i))
		}
		client.Do(func() {
			for c := range clients {
				for i := range ports {
					local := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 20000 + c*ports + i}
					switch port, err := askTwice(local, 9000+i, 8000+i); {
					case err != nil:
						lost++
					case port != 9000+i:
						wrong++
					}
				}
			}
		})
		return wrong, lost
	}
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		b.add(t, host, fmt.Sprintf("8000-%d:9000-%d/tcp,udp", 8000+ports-1, 9000+ports-1))
		if wrong, lost := try(host, client); wrong > 0 || lost > 0 {
			t.Errorf("of %d connections %d came to another server, and %d to none", ports*clients, wrong, lost)
		}
	})
	t.Run("a shifted range", func(t *testing.T) {
		host, client := backends()[1].barePair(t)
		host.Run("iptables-nft", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "--dport", "8000:8009", "-j", "DNAT",
			"--to-destination", ":9000-9009/8000")
		wrong, lost := try(host, client)
		t.Logf("of %d connections %d came to another server, and %d to none", ports*clients, wrong, lost)
		if wrong == 0 {
			t.Error("none came to another server: one rule could do for a range")
		}
	})
}

// askTwice sends a datagram from one socket to the server's port, and then from the same address and port, by another
// socket, to the public one. It returns the port of the server that answered last.
func askTwice(local *net.UDPAddr, direct, public int) (int, error) {
	for _, port := range []int{direct, public} {
		conn, err := net.DialUDP("udp4", local, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port})
		if err != nil {
			return 0, err
		}
		answer, err := lab.AskOver(conn)
		conn.Close()
		if err != nil || port == public {
			return int(answer.Server.Port()), err
		}
	}
	return 0, nil
}
