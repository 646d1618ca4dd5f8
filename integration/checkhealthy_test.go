package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// healthyHost is a host on which all is well.
type healthyHost struct {
	shape string
	host  brokenHost // without its fault
	also  func(*checkedHost)
}

func healthyHosts() []healthyHost {
	dnat := "-m conntrack --ctstate DNAT --ctorigdstport 443 -j ACCEPT\n"
	return []healthyHost{
		{shape: "bare"},
		{"ufw with the cure", brokenHost{on: onIPTables}, func(s *checkedHost) {
			ufw(s)
			s.run("iptables-nft -I ufw-before-input " + dnat + "ip6tables-nft -I ufw6-before-input " + dnat)
		}},
		{"firewalld", brokenHost{}, loaded(tableOf("inet firewalld", "filter_INPUT",
			"filter hook input priority filter + 10", "ct state established,related accept\nct status dnat accept\n"+
				"iifname lo accept\nicmpv6 type nd-neighbor-solicit accept\nreject with icmpx admin-prohibited"))},
		{"Docker", brokenHost{on: onIPTables}, typed("iptables-nft -P FORWARD DROP\niptables-nft -N DOCKER-USER\n" +
			"iptables-nft -A FORWARD -j DOCKER-USER\niptables-nft -t nat -N DOCKER\n" +
			"iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n" +
			"iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80")},
		{"conntrack zones", brokenHost{}, loaded(tableOf("inet zones", "prerouting",
			"filter hook prerouting priority raw", "ct zone set 5") + "\n" +
			tableOf("inet zones", "output", "filter hook output priority raw", "ct zone set 5"))},
		{"an address of another interface", brokenHost{add: "443:8443 -4"}, func(s *checkedHost) {
			s.endServers()
			s.run("ip link add docker0 type bridge\nip address add 172.17.0.1/16 dev docker0\nip link set docker0 up")
			s.serve("tcp 192.0.2.1:8443")
		}},
		{"a tunnel, whose address is closed elsewhere", brokenHost{add: "443:8443 -4"}, func(s *checkedHost) {
			s.run("ip link add wan0 type veth peer name wan1\nip link set wan1 up\nip link set wan0 up\n" +
				"ip address add 203.0.113.7/24 dev wan0\nip route add default via 203.0.113.1")
			loadText(s.T, s.host, tableOf("ip wg-quick-eth0", "preraw", "filter hook prerouting priority raw",
				"iifname != eth0 ip daddr 192.0.2.1 fib saddr type != local drop")) // as wg-quick(8) does
		}},
		{"routes that drop", brokenHost{}, typed("ip route add blackhole 198.18.0.0/15\n" +
			"ip -6 route add unreachable 2001:2::/48")},
		{"router", brokenHost{build: router, add: "443:10.0.0.5:8443"}, nil},
		{"iptables-legacy", brokenHost{on: onLegacy, add: "443:8443/tcp,udp",
			serve: []string{"tcp [::]:8443", "udp [::]:8443"}}, nil},
	}
}

// Where all is well, check finds nothing.
func TestCheckOfHealthyHosts(t *testing.T) {
	each(t, healthyHosts(), func(h healthyHost) string { return h.shape }, func(t *testing.T, h healthyHost) {
		s := h.host.make(t)
		if h.also != nil {
			h.also(s)
		}
		found := s.check()
		if found.Code != 0 || len(found.findings()) > 0 || found.Mappings[0].Status != "reachable" {
			t.Errorf("exit %d, %s, found %+v", found.Code, found.Mappings[0].Status, found.findings())
		}
	})
}

// Of many mappings some are tried, and it is said that others are not.
func TestCheckOfManyMappings(t *testing.T) {
	s := brokenHost{add: "443:999", serve: []string{"tcp [::]:999"}}.make(t)
	apply := s.p.cmd("apply", "-q", "-f", "-")
	apply.Stdin = strings.NewReader(manyMappings(150))
	if r := s.host.TryCommand(apply); r.Code != 0 {
		t.Fatal(r.Err)
	}
	if found := s.check(); found.Code != 0 || found.Left != 50 || found.Mappings[99].Status != "reachable" ||
		found.Mappings[100].Status != "not tried" {
		t.Errorf("exit %d, %d left, found %+v", found.Code, found.Left, found.findings())
	}
	if r := s.p.try("check"); !strings.Contains(r.Err, "sent for 100 mappings; 50 more were not tried") {
		t.Errorf("check says %s", r.Err)
	}
	if named := s.check("1149"); named.Left != 0 || named.Mappings[0].Status != "reachable" {
		t.Errorf("check of one of them: %+v", named)
	}
}

// manyMappings returns lines for mappings to one server.
func manyMappings(count int) string {
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "%d:999\n", 1000+i)
	}
	return text.String()
}

// --fix types the cures that can be undone, and says how to. It types nothing without a yes.
func TestCheckFixes(t *testing.T) {
	s := brokenHost{}.make(t)
	twoDrops(s)
	before := s.ruleset()
	fix := func(input string, args ...string) lab.Result {
		cmd := s.p.cmd(append([]string{"check", "--fix"}, args...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		cmd.Stdin = strings.NewReader(input)
		return s.host.TryCommand(cmd)
	}
	for _, input := range []string{"", "n\nno\n", "\n\n"} {
		r := fix(input)
		if r.Code != 1 || !strings.Contains(r.Out, "type it? [y/N] \nnot typed") || s.ruleset() != before {
			t.Errorf("after %q: exit %d\n%s%s", input, r.Code, r.Out, r.Err)
		}
	}
	for _, c := range []struct {
		args  []string
		cures int
	}{{[]string{"--yes"}, 2}, {[]string{"--yes", "--no-probe"}, 1}} { // which reads off rules that the policy drops
		r := fix("", c.args...)
		if r.Code != 0 || strings.Count(r.Out, "typed, and it is cured") != c.cures || s.direct() != "dropped" {
			t.Errorf("%v: exit %d\n%s%s", c.args, r.Code, r.Out, r.Err)
		}
		if c.cures == 2 && (!s.reached(ask4, silence) || !s.reached(ask6, silence)) {
			t.Error("clients are not answered after both cures")
		}
		var undo []string
		for line := range strings.Lines(r.Out) {
			if _, command, is := strings.Cut(line, "to undo: "); is {
				undo = append(undo, command)
			}
		}
		s.run(strings.Join(undo, ""))
		if after := s.ruleset(); len(undo) != c.cures || after != before {
			t.Errorf("after %q the rules are not what they were:\n%s", undo, lineDiff(before, after))
		}
	}
}

// Of two mappings of one port each has its own cure, which helps it, and an undo that leaves the other alone.
func TestCheckFixesEachMapping(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	p.run("add", "192.0.2.1:443:8443")
	p.run("add", "192.0.2.2:443:8443")
	loadText(t, host, tableOf("inet mine", "pre", "nat hook prerouting priority -150",
		"tcp dport 443 redirect to :9443"))
	cmd := p.cmd("check", "--no-probe", "--fix", "--yes")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	r := host.TryCommand(cmd)
	if strings.Count(r.Out, "typed, and it is cured") != 2 {
		t.Errorf("two cures: %+v", r)
	}
	_, undo, _ := strings.Cut(r.Out, "to undo: ")
	undo, _, _ = strings.Cut(undo, "\n")
	host.Run("sh", "-ec", "sudo() { \"$@\"; }; "+undo)
	left := host.Ruleset()
	if strings.Contains(left, "daddr 192.0.2.1 ") || !strings.Contains(left, "daddr 192.0.2.2 ") {
		t.Errorf("after %s:\n%s", undo, left)
	}
}

// An ordinary user is told what can be found out without root: 3 if that is nothing wrong.
func TestCheckAsAnOrdinaryUser(t *testing.T) {
	needUsers(t)
	s := brokenHost{}.make(t)
	mode(t, filepath.Dir(filepath.Dir(s.p.file)), 0o755)
	check := func() lab.Result { return s.host.TryCommand(lab.Unprivileged(s.p.cmd("check"))) }
	r := check()
	if r.Code != 3 || !strings.Contains(r.Out, "443:8443/tcp") || !strings.Contains(r.Err, "sudo portmap") {
		t.Errorf("healthy: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	s.endServers()
	if r = check(); r.Code != 1 || !strings.Contains(r.Out, "no server listens on port 8443") {
		t.Errorf("nobody listens: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}
