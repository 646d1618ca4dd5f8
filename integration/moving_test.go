package integration

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"portmap/internal/lab"
)

// load keeps opening connections from a host until it is stopped, and counts them.
type load struct {
	stop   atomic.Bool
	wait   sync.WaitGroup
	opened atomic.Int64
	failed atomic.Pointer[string]
}

func startLoad(h *lab.Host, addresses ...string) *load {
	l := &load{}
	for _, address := range addresses {
		l.wait.Add(1)
		go h.Do(func() {
			defer l.wait.Done()
			for !l.stop.Load() {
				if err := connectOnce(address); err != nil {
					text := address + ": " + err.Error()
					l.failed.CompareAndSwap(nil, &text)
					return
				}
				l.opened.Add(1)
			}
		})
	}
	return l
}

// end stops the load, and fails the test if a connection was refused or reset.
func (l *load) end(t *testing.T) int64 {
	t.Helper()
	l.stop.Store(true)
	l.wait.Wait()
	if said := l.failed.Load(); said != nil {
		t.Errorf("after %d connections: %s", l.opened.Load(), *said)
	}
	return l.opened.Load()
}

// A live host goes from one backend to the other and back, and no new connection is refused, whatever its mapping asks
// for.
func TestMovingUnderLoad(t *testing.T) {
	const atLeast = 1000
	eachVariant(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
		user := owner
		if lab.UnprivilegedUID() == 0 { // which has one user only
			user = 0
		}
		guards := fmt.Sprintf(" --owner %d --hide", user)
		host.EchoAs(user, "tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		host.Echo("tcp", "192.0.2.1:8444", "192.0.2.1:8445", "127.0.0.1:8446")
		p := backends()[0].command(t, host)
		p.run(strings.Fields("add 443:8443" + guards)...)
		p.run("add", "444:8444,8445", "445:127.0.0.1:8446", "9000-9040:10000-10040/tcp,udp")
		p.run("add", "81:8081", "--temporary")
		l := startLoad(client, "192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.1:444", "192.0.2.1:445")
		moves := 0
		for moves < 4 || l.opened.Load() < atLeast && l.failed.Load() == nil {
			p.run("apply", "--backend", "iptables")
			p.run("apply", "--backend", "nft")
			moves += 2
		}
		p.run("apply", "--backend", "iptables")
		opened := l.end(t)
		t.Logf("%d connections, %d moves", opened, moves+1)
		if opened < atLeast {
			t.Errorf("only %d connections", opened)
		}
		want := "81:8081/tcp --temporary\n443:8443/tcp" + guards + "\n444:8444,8445/tcp\n445:127.0.0.1:8446/tcp\n" +
			"9000-9040:10000-10040/tcp,udp"
		if live := b.live(t, host); texts(live) != want || live.Damaged != "" {
			t.Errorf("live are %s; %s", texts(live), live.Damaged)
		}
		if a, err := client.Ask("tcp", "", "192.0.2.1:8443"); err != nil || !a.Refused {
			t.Errorf("directly: %+v, %v", a, err)
		}
		if rest := ownRules(backends()[0].save(host)); rest != "" {
			t.Errorf("left in nft:\n%s", rest)
		}
		consistent(t, p)
	})
}

// A connection that is open while its mapping moves goes on.
func TestMovingKeepsConnections(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Chat("192.0.2.1:8443")
		p := backends()[0].command(t, host)
		p.run("add", "443:8443")
		talk := client.Talk("192.0.2.1:443")
		for _, to := range []string{"iptables", "nft"} {
			p.run("apply", "--backend", to)
			talk.Must(t, "after the move to "+to)
		}
	})
}

// Changes of one mapping under load disturb no other's connections, also where chains split and merge.
func TestNeighboursUnderLoad(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1")
		host.Echo("tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		p := b.command(t, host)
		p.run("add", "443:8443", "1-14:1001-1014")
		l := startLoad(client, "192.0.2.1:443", "[2001:db8::1]:443")
		for _, other := range []string{"440:9440", "441:9441", "442:9442/tcp,udp", "444-460:9444-9460"} {
			p.run("add", other)
		}
		p.run("remove", "440", "442", "444-460")
		p.run("remove", "441")
		opened := l.end(t)
		counted := connections(b.live(t, host), "443:8443/tcp")
		t.Logf("%d connections, %d counted", opened, counted)
		if b.name == "nft" && int64(counted) != opened { // with iptables some are lost where a chain splits
			t.Errorf("%d connections were opened, %d are counted", opened, counted)
		}
		consistent(t, p)
	})
}

// What may be done with --backend where the mappings live elsewhere: nothing but to move them.
func TestBackendOfAnother(t *testing.T) {
	host, _ := backends()[1].pair(t)
	p := backends()[0].command(t, host)
	p.run("add", "443:8443")
	unchanged(t, p, "the mappings of this host are live in nft, not in iptables\n"+
		"  to move them: sudo portmap --config "+p.file+" apply --backend iptables",
		"add", "80:8080", "--backend", "iptables")
	unchanged(t, p, "apply --backend iptables", "remove", "443", "--backend", "iptables")
	p.run("apply", "--backend", "iptables")
	if got := p.run("list", "-o", "plain"); got != "backend iptables\n443:8443/tcp\n" {
		t.Errorf("the file is %q", got)
	}
	unchanged(t, p, "apply --backend nft", "add", "80:8080", "--backend", "nft")
	p.run("add", "80:8080") // the file says where
	if got := texts(backends()[1].live(t, host)); got != "80:8080/tcp\n443:8443/tcp" {
		t.Errorf("in iptables-nft are\n%s", got)
	}
	p.run("remove", "--all")
	if rest := ownRules(backends()[1].save(host)); rest != "" {
		t.Errorf("left in iptables-nft:\n%s", rest)
	}
}
