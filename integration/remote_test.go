package integration

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// network is a host between its clients and a network with two servers and a neighbour of theirs, which know no way to
// the client but by the host.
//
//	client 192.0.2.2 ── 192.0.2.1 host 10.0.0.1 ──┬── 10.0.0.5 one
//	                                              ├── 10.0.0.6 two
//	                                              └── 10.0.0.7 neighbour
type network struct {
	host, client, one, two, neighbour *lab.Host
}

func newNetwork(t *testing.T) network {
	n := lab.New(t)
	w := network{n.Host("host"), n.Host("client"), n.Host("one"), n.Host("two"), n.Host("neighbour")}
	n.Link(w.host, "192.0.2.1/24", "2001:db8::1/64", w.client, "192.0.2.2/24", "2001:db8::2/64")
	w.host.Run("ip", "link", "add", "br0", "type", "bridge")
	w.host.Run("ip", "link", "set", "br0", "up")
	w.host.Address("br0", "10.0.0.1/24")
	w.host.Address("br0", "2001:db8:5::1/64")
	for number, member := range map[string]*lab.Host{"5": w.one, "6": w.two, "7": w.neighbour} {
		port, _ := n.Link(w.host, member, "10.0.0."+number+"/24", "2001:db8:5::"+number+"/64")
		w.host.Run("ip", "link", "set", port, "master", "br0")
		// Else a frame that br_netfilter translates on the bridge does not go back to the port by which it came.
		w.host.Run("ip", "link", "set", port, "type", "bridge_slave", "hairpin", "on")
		member.Route("192.0.2.0/24", "10.0.0.1")
		member.Run("ip", "-6", "route", "add", "2001:db8::/64", "via", "2001:db8:5::1")
		for _, network := range []string{"tcp", "udp"} {
			member.Echo(network, "10.0.0."+number+":8443", "[2001:db8:5::"+number+"]:8443")
		}
	}
	w.host.Echo("tcp", "127.0.0.1:443", "[::1]:443")
	w.host.Echo("udp", "127.0.0.1:443", "[::1]:443")
	w.client.Route("10.0.0.0/24", "192.0.2.1")
	w.client.Run("ip", "-6", "route", "add", "2001:db8:5::/64", "via", "2001:db8::1")
	return w
}

func (w network) forward() {
	w.host.Run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
}

// asks is a client that asks an address of the host, and what the server must see.
type asks struct {
	what           string
	from           *lab.Host
	source, to     string
	server, client string
}

func (a asks) check(t *testing.T) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		got, err := a.from.Ask(network, a.source, a.to)
		if err != nil || got.Server.String() != a.server || got.Client.Addr().String() != a.client {
			t.Errorf("%s: %s to %s: got %+v, %v; want %s to see %s", a.what, network, a.to, got, err, a.server,
				a.client)
		}
	}
}

// A server on another host is reached by clients of everywhere: it sees this host. Connections that were not sent on
// by a mapping keep their source.
func TestRemoteTarget(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		b.add(t, w.host, "443:10.0.0.5:8443,[2001:db8:5::5]:8443/tcp,udp", "192.0.2.1:444:10.0.0.6:8443/tcp,udp",
			"445:10.0.0.5:8443/tcp,udp --source 192.0.2.0/24",
			"445:10.0.0.6:8443/tcp,udp --source 10.0.0.7/32,10.0.0.9/32",
			"446-448:10.0.0.6:8442-8444/tcp,udp --interface eth0", "8443:[2001:db8:5::6]:8443/tcp,udp")
		for _, a := range []asks{
			{"a client", w.client, "", "192.0.2.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"a client, IPv6", w.client, "", "[2001:db8::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
			{"one listen address", w.client, "", "192.0.2.1:444", "10.0.0.6:8443", "10.0.0.1"},
			{"a source", w.client, "", "192.0.2.1:445", "10.0.0.5:8443", "10.0.0.1"},
			{"another source", w.neighbour, "", "10.0.0.1:445", "10.0.0.6:8443", "10.0.0.1"},
			{"a range", w.client, "", "192.0.2.1:447", "10.0.0.6:8443", "10.0.0.1"},
			{"a neighbour of the server", w.neighbour, "", "10.0.0.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"a neighbour, IPv6", w.neighbour, "", "[2001:db8:5::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
			{"the server itself", w.one, "", "192.0.2.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"the server, IPv6", w.one, "", "[2001:db8:5::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
			{"the host", w.host, "", "192.0.2.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"the host, IPv6", w.host, "", "[2001:db8::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
			{"the host, by a loopback address", w.host, "", "127.0.0.1:443", "127.0.0.1:443", "127.0.0.1"},
			{"the host, by ::1", w.host, "", "[::1]:443", "[::1]:443", "::1"},
			{"the same port", w.client, "", "[2001:db8::1]:8443", "[2001:db8:5::6]:8443", "2001:db8:5::1"},
			{"not mapped", w.client, "", "10.0.0.5:8443", "10.0.0.5:8443", "192.0.2.2"},
			{"not mapped, IPv6", w.client, "", "[2001:db8:5::6]:8443", "[2001:db8:5::6]:8443", "2001:db8::2"},
		} {
			a.check(t)
		}
		live := b.live(t, w.host)
		if live.Damaged != "" || connections(live, "443:10.0.0.5:8443,[2001:db8:5::5]:8443/tcp,udp") == 0 {
			t.Errorf("live is %+v", live)
		}
	})
}

// shares asks the host from as many ports as it is told, each one once, since the kernel takes what comes from a port
// again for the same connection. It returns how many connections came to each server.
func shares(t *testing.T, from *lab.Host, to string, count int) map[netip.AddrPort]int {
	t.Helper()
	found := map[netip.AddrPort]int{}
	from.Do(func() {
		const first = 20000
		for i := range count {
			d := net.Dialer{Timeout: time.Second, LocalAddr: &net.UDPAddr{Port: first + i}}
			conn, err := d.Dial("udp", to)
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := lab.AskOver(conn)
			conn.Close()
			if err != nil {
				t.Error(err)
				return
			}
			found[answer.Server]++
		}
	})
	return found
}

func wantEven(t *testing.T, found map[netip.AddrPort]int, count, targets int) {
	t.Helper()
	for server, n := range found {
		if even := count / targets; n < even*98/100 || n > even*102/100 {
			t.Errorf("%s got %d of %d connections", server, n, count)
		}
	}
	if len(found) != targets {
		t.Errorf("%d servers got connections: %v", len(found), found)
	}
}

// New connections are spread evenly over several targets, of this host and of others.
func TestEvenShares(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		w.host.Echo("udp", "0.0.0.0:7001", "0.0.0.0:7002", "0.0.0.0:7003")
		b.add(t, w.host, "443:10.0.0.5:8443,10.0.0.6:8443/udp", "444:[2001:db8:5::5]:8443,[2001:db8:5::6]:8443/udp",
			"445:7001,7002,7003/udp", "446-447:7001-7002,7002-7003/udp --source 192.0.2.0/24,198.51.100.0/24")
		wantEven(t, shares(t, w.client, "192.0.2.1:443", 10000), 10000, 2)
		wantEven(t, shares(t, w.client, "[2001:db8::1]:444", 1000), 1000, 2)
		wantEven(t, shares(t, w.client, "192.0.2.1:445", 1500), 1500, 3)
		wantEven(t, shares(t, w.client, "192.0.2.1:447", 500), 500, 2)
		wantEven(t, shares(t, w.host, "127.0.0.1:445", 300), 300, 3)
	})
}

// A client stays on its target with --sticky: after a restart, and with another order in the file. Over IPv4 it does
// with either backend. Over IPv6 xt_cluster looks at 32 bits of the address only.
func TestSticky(t *testing.T) {
	w := newNetwork(t)
	w.forward()
	const clients = 200
	for i := range clients {
		w.client.Address("eth0", fmt.Sprintf("192.0.2.%d/24", 20+i))
		w.client.Address("eth0", fmt.Sprintf("2001:db8::%x/64", 0x100+i))
	}
	look := func() (servers []string) {
		for i := range clients {
			for from, to := range map[string]string{fmt.Sprintf("192.0.2.%d", 20+i): "192.0.2.1:443",
				fmt.Sprintf("2001:db8::%x", 0x100+i): "[2001:db8::1]:443"} {
				got, err := w.client.Ask("udp", from, to)
				if err != nil || !got.Server.IsValid() {
					t.Fatalf("%s: %+v, %v", from, got, err)
				}
				servers = append(servers, from+" "+got.Server.String())
			}
		}
		slices.Sort(servers)
		return servers
	}
	var first4 []string
	eachBackend(t, func(t *testing.T, b backend) {
		var first []string
		for _, order := range []string{"10.0.0.5:8443,10.0.0.6:8443,[2001:db8:5::5]:8443,[2001:db8:5::6]:8443",
			"[2001:db8:5::6]:8443,10.0.0.6:8443,[2001:db8:5::5]:8443,10.0.0.5:8443"} {
			m := b.add(t, w.host, "443:"+order+"/udp --sticky")
			found := look()
			found4 := slices.DeleteFunc(slices.Clone(found), func(s string) bool { return strings.Contains(s, "[") })
			if first == nil {
				first = found
			}
			if first4 == nil {
				first4 = found4
			}
			if !slices.Equal(found, first) || !slices.Equal(found4, first4) {
				t.Errorf("%s: clients went elsewhere", order)
			}
			b.change(t, w.host, rules.Change{Reset: true, Remove: m})
		}
	})
	if one := strings.Count(strings.Join(first4, "\n"), "10.0.0.5:"); one < clients/4 || one > clients*3/4 {
		t.Errorf("%d of %d clients are on the first server", one, clients)
	}
}

// Without a target that is taken away, flows to it go to another one at once, and those to the others go on.
func TestTargetTakenAway(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		b.prefer(w.host)
		for address, server := range map[string]*lab.Host{"10.0.0.5": w.one, "10.0.0.6": w.two} {
			server.Chat(address + ":9000")
		}
		p := b.command(t, w.host)
		p.run("add", "443:10.0.0.5:8443,10.0.0.6:8443/udp", "444:10.0.0.5:9000,10.0.0.6:9000")
		flows := []*lab.Flow{w.client.Flow("udp", "192.0.2.1:443"), w.client.Flow("udp", "192.0.2.1:443")}
		before := map[string]*lab.Flow{}
		for _, f := range flows {
			got, err := f.Ask()
			if err != nil {
				t.Fatal(err)
			}
			before[got.Server.Addr().String()] = f
		}
		talks := []*lab.Talk{w.client.Talk("192.0.2.1:444"), w.client.Talk("192.0.2.1:444")}
		for _, talk := range talks {
			talk.Must(t, "at first")
		}
		p.run("add", "--replace", "443:10.0.0.5:8443/udp", "444:10.0.0.5:9000")
		for server, f := range before {
			if got, err := f.Ask(); err != nil || got.Server.Addr().String() != "10.0.0.5" {
				t.Errorf("a flow to %s: %+v, %v", server, got, err)
			}
		}
		alive := 0
		for _, talk := range talks {
			if talk.Say(300*time.Millisecond) == nil {
				alive++
			}
		}
		if len(before) != 2 || alive != 1 {
			t.Errorf("%d servers had a flow, %d connections of 2 go on: only that to the server that stays should",
				len(before), alive)
		}
	})
}

// A link of 1,280 bytes between this host and the server: what it says to the client of larger packets is translated.
func TestPathMTU(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		w.host.Run("ip", "link", "set", "br0", "mtu", "1280")
		w.one.Chat("10.0.0.5:9000")
		w.one.Chat("[2001:db8:5::5]:9000")
		b.add(t, w.host, "443:10.0.0.5:9000,[2001:db8:5::5]:9000")
		sent := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		for _, to := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
			var conn net.Conn
			var err error
			w.client.Do(func() { conn, err = net.DialTimeout("tcp", to, 2*time.Second) })
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			go func() { _, _ = conn.Write(sent) }()
			got := make([]byte, len(sent))
			if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s: %d of %d bytes came back: %v", to, n, len(sent), err)
			}
			conn.Close()
		}
	})
}
