package integration

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
)

const (
	forward4  = "net.ipv4.ip_forward"
	forward6  = "net.ipv6.conf.all.forwarding"
	localnet  = "net.ipv4.conf.all.route_localnet"
	remoteOne = "443:10.0.0.5:8443,[2001:db8:5::5]:8443/tcp,udp"
)

// wantSwitches compares switches of a host with what they should be.
func wantSwitches(t *testing.T, h *lab.Host, when string, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := strings.TrimSpace(h.Run("sysctl", "-n", name)); got != value {
			t.Errorf("%s: %s is %s, want %s", when, name, got, value)
		}
	}
}

// pasted returns the command at the end of a line of output, without sudo.
func pasted(t *testing.T, output, lead string) []string {
	t.Helper()
	for line := range strings.Lines(output) {
		if _, command, found := strings.Cut(line, lead+": sudo "); found {
			words := strings.Fields(strings.NewReplacer("'", "", "&& sudo ", "&& ").Replace(command))
			if i := slices.Index(words, "--config"); i >= 0 { // which the command of the test has
				words = slices.Delete(words, i, i+2)
			}
			return words
		}
	}
	t.Fatalf("nothing to paste behind %q in\n%s", lead, output)
	return nil
}

// Without forwarding a mapping to another host says what to type. With --forward it is switched on, and is as it was
// when the last such mapping goes, unless somebody else has set it since.
func TestForwarding(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		b.prefer(w.host)
		p := b.command(t, w.host)
		w.host.Run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=1", "net.ipv4.conf.br0.forwarding=0")
		off := map[string]string{forward4: "0", forward6: "0", "net.ipv4.conf.eth0.forwarding": "1"}
		on := map[string]string{forward4: "1", forward6: "1"}
		r := p.try("add", remoteOne)
		if r.Code != 0 || !strings.Contains(r.Err, "sees an address of this host as that of its clients") {
			t.Fatalf("exit %d: %s", r.Code, r.Err)
		}
		wantSwitches(t, w.host, "without --forward", off)
		p.run(pasted(t, r.Err, "to switch it on")[1:]...)
		wantSwitches(t, w.host, "with --forward", on)
		for _, a := range []asks{
			{"a client", w.client, "", "192.0.2.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"a client, IPv6", w.client, "", "[2001:db8::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
		} {
			a.check(t)
		}
		p.run("add", "444:10.0.0.6:8443", "--forward")
		p.run("remove", "443")
		wantSwitches(t, w.host, "while another mapping needs it", map[string]string{forward4: "1", forward6: "0"})
		w.host.Run("sysctl", "-qw", forward4+"=0")
		p.run("apply")
		wantSwitches(t, w.host, "after apply", map[string]string{forward4: "1"})
		p.run("flush")
		wantSwitches(t, w.host, "after flush", off)
		p.run("apply")
		wantSwitches(t, w.host, "after apply", map[string]string{forward4: "1"})
		w.host.Run("sysctl", "-qw", forward4+"=0")
		w.host.Run("sysctl", "-qw", "net.ipv4.conf.eth0.forwarding=0")
		p.run("remove", "444")
		wantSwitches(t, w.host, "set by somebody else",
			map[string]string{forward4: "0", "net.ipv4.conf.eth0.forwarding": "0"})
		w.host.Run("sysctl", "-qw", forward4+"=1")
		p.run("add", remoteOne, "--forward")
		p.run("remove", "443")
		wantSwitches(t, w.host, "on from the start", map[string]string{forward4: "1", forward6: "0"})
	})
}

// A change that fails, or is refused, leaves the switches as they were.
func TestSwitchesOfAFailedChange(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		b.prefer(w.host)
		p := b.command(t, w.host)
		p.run("add", "80:8080")
		readOnly := p
		readOnly.without = []string{"../../proc/sys/net/ipv6/conf/all/forwarding"} // /dev/null stands in its place
		before := texts(b.live(t, w.host))
		r := readOnly.try("add", remoteOne, "--forward")
		if r.Code != 1 || !strings.Contains(r.Err, forward6) {
			t.Errorf("exit %d: %s", r.Code, r.Err)
		}
		wantSwitches(t, w.host, "after a failure", map[string]string{forward4: "0", forward6: "0"})
		if after := b.live(t, w.host); texts(after) != before || after.Damaged != "" {
			t.Errorf("live is %+v, was %s", after, before)
		}
		if got := p.run("list", "-o", "plain"); got != b.line()+"80:8080/tcp\n" {
			t.Errorf("saved is %q", got)
		}
	})
}

// A policy of drop, as Docker sets it, is told with the rules that let these connections pass, and no others.
func TestForwardDrop(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		b.prefer(w.host)
		tools := b.tools
		if b.name == "nft" {
			w.host.Run("nft", "add table inet wall; "+
				"add chain inet wall forward { type filter hook forward priority 0; policy drop; }")
			tools = nil
		}
		for _, tool := range tools {
			w.host.Run(tool, "-P", "FORWARD", "DROP")
		}
		p := b.command(t, w.host)
		r := p.try("add", remoteOne, "--forward")
		if answered(w.client, "192.0.2.2", "192.0.2.1:443") {
			t.Error("the wall lets pass")
		}
		for line := range strings.Lines(r.Err) {
			if !strings.Contains(line, "to let only these pass: ") {
				continue
			}
			commands := strings.Join(pasted(t, line, "to let only these pass"), " ")
			for command := range strings.SplitSeq(commands, " && ") {
				words := strings.Fields(command)
				w.host.Run(words[0], words[1:]...)
			}
		}
		for _, a := range []asks{
			{"a client", w.client, "", "192.0.2.1:443", "10.0.0.5:8443", "10.0.0.1"},
			{"a client, IPv6", w.client, "", "[2001:db8::1]:443", "[2001:db8:5::5]:8443", "2001:db8:5::1"},
		} {
			a.check(t)
		}
		if answered(w.client, "192.0.2.2", "10.0.0.5:8443") {
			t.Error("what is not mapped passes")
		}
		if again := p.try("list"); strings.Contains(again.Err, "to let only these pass") {
			t.Errorf("list tells it once more: %s", again.Err)
		}
	})
}

// answered reports whether a datagram is answered, soon.
func answered(from *lab.Host, source, to string) (yes bool) {
	from.Do(func() {
		dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
		conn, err := dialer.Dial("udp", to)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := conn.Write([]byte("?")); err == nil {
			_, err = conn.Read(make([]byte, 100))
			yes = err == nil
		}
	})
	return yes
}

// attacker makes a host one that sends to and from loopback addresses by its gateway.
func attacker(h *lab.Host, gateway string) {
	h.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
	h.Run("ip", "address", "flush", "dev", "lo")
	h.Run("ip", "-4", "route", "flush", "table", "local", "dev", "lo")
	h.Run("ip", "route", "add", "127.0.0.1", "via", gateway)
	h.Address("eth0", "127.0.0.5/32")
}

// A server that listens on 127.0.0.1 only is reached through its mapping, and no other one there, by no neighbour:
// before, during and after (CVE-2020-8558).
func TestLoopbackTarget(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		n := lab.New(t)
		host, client, late := n.Host("host"), n.Host("client"), n.Host("late")
		n.Link(host, "192.0.2.1/24", client, "192.0.2.2/24")
		b.prefer(host)
		for _, network := range []string{"tcp", "udp"} {
			host.Echo(network, "127.0.0.1:8443", "127.0.0.1:7777", "127.0.0.1:8444")
		}
		host.Run("nft", "add table ip spy; add chain ip spy input { type filter hook input priority 0; }; "+
			"add rule ip spy input ip saddr 127.0.0.5 iifname eth0 counter")
		attacker(client, "192.0.2.1")
		attack := func(when string, want bool) {
			t.Helper()
			for _, port := range []string{"7777", "8443"} {
				if got := answered(client, "192.0.2.2", "127.0.0.1:"+port); got != want {
					t.Errorf("%s: 127.0.0.1:%s answered is %v", when, port, got)
				}
			}
		}
		p := b.command(t, host)
		attack("before", false)
		host.Run("sysctl", "-qw", localnet+"=1")
		attack("with the switch alone", true) // else the test tests nothing
		host.Run("sysctl", "-qw", localnet+"=0")
		p.run("add", "443:127.0.0.1:8443/tcp,udp", "444-445:127.0.0.1:8443-8444/udp",
			"192.0.2.1:446:127.0.0.1:8443/udp", "447:127.0.0.1:8443,127.0.0.1:8444/udp")
		for _, a := range []asks{
			{"a client", client, "192.0.2.2", "192.0.2.1:443", "127.0.0.1:8443", "192.0.2.2"},
			{"the host", host, "", "192.0.2.1:443", "127.0.0.1:8443", "192.0.2.1"},
			{"the host, by a loopback address", host, "", "127.0.0.1:443", "127.0.0.1:8443", "127.0.0.1"},
		} {
			a.check(t)
		}
		for _, port := range []string{"445", "446", "447"} {
			if !answered(client, "192.0.2.2", "192.0.2.1:"+port) {
				t.Errorf("port %s is not answered", port)
			}
		}
		attack("during", false)
		n.Link(host, "198.51.100.1/24", late, "198.51.100.2/24")
		attacker(late, "198.51.100.1")
		if answered(late, "198.51.100.2", "127.0.0.1:7777") || !answered(late, "198.51.100.2", "198.51.100.1:443") {
			t.Error("by an interface that came later: a server is open, or the mapping does not work")
		}
		if answered(client, "127.0.0.5", "192.0.2.1:443") {
			t.Error("a spoofed client got an answer")
		}
		if counted := host.Run("nft", "list", "table", "ip", "spy"); !strings.Contains(counted, "packets 0 ") {
			t.Errorf("a spoofed packet came in:\n%s", counted)
		}
		if live := b.live(t, host); live.Damaged != "" {
			t.Errorf("damaged: %s", live.Damaged)
		}
		p.run("remove", "443", "444-445", "447")
		attack("while one is left", false)
		p.run("remove", "446")
		wantSwitches(t, host, "after", map[string]string{localnet: "0"})
		attack("after", false)
	})
}

// A watch switches on again what somebody switched off, and puts the rules back: those of guards and targets, too.
func TestWatchKeepsSwitches(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		w := newNetwork(t)
		b.prefer(w.host)
		p := b.command(t, w.host)
		p.run("add", remoteOne, "--forward")
		p.run("add", "445:8445", "--owner", "0", "--hide")
		p.run("add", "446:8446,8447", "447:127.0.0.1:8448")
		all := strings.Split(texts(b.live(t, w.host)), "\n")
		watch := p.watch()
		watch.live(b, all...)
		for _, name := range []string{forward4, localnet} {
			w.host.Run("sysctl", "-qw", name+"=0")
			watch.within(name+" is on", func() bool {
				return strings.TrimSpace(w.host.Run("sysctl", "-n", name)) == "1"
			})
		}
		w.host.Run(f.flush[0], f.flush[1:]...)
		watch.live(b, all...)
		for _, damage := range b.guardLosses() {
			w.host.Run(damage[0], damage[1:]...)
			watch.within(strings.Join(damage, " "), func() bool {
				time.Sleep(20 * time.Millisecond) // the question costs several processes
				return p.try("diff").Code == 0
			})
		}
	})
}

// guardLosses are commands that each take away a part of what guards and targets need.
func (b backend) guardLosses() [][]string {
	if b.name == "nft" {
		return [][]string{{"nft", "flush chain inet portmap owner"}, {"nft", "flush set inet portmap hidden"},
			{"nft", "flush set inet portmap masq6"}, {"nft", "flush map inet portmap spread"},
			{"nft", "flush chain inet portmap guard_loopback"}}
	}
	var list [][]string
	for _, what := range []string{"mangle -F PORTMAP-OWNER", "filter -D INPUT 1", "nat -F PORTMAP-MASQ",
		"mangle -D PREROUTING 1"} {
		list = append(list, append([]string{b.tools[0], "-t"}, strings.Fields(what)...))
	}
	return list
}
