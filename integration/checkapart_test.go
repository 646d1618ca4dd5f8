package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"portmap/internal/finding"
)

// apart is a host whose rules tell clients apart: its clients pass, and the probe does not.
type apart struct {
	name string
	on   func() backend
	also func(*checkedHost)
}

func hostsThatTellApart() []apart {
	input := func(policy, rules string) func(*checkedHost) { return loaded(inputOf(policy, rules)) }
	both := func(variant string, rules ...string) func(*checkedHost) {
		var script strings.Builder
		for _, rule := range rules {
			fmt.Fprintf(&script, "iptables-%s -A INPUT %s\nip6tables-%[1]s -A INPUT %[2]s\n", variant, rule)
		}
		return typed(script.String())
	}
	return []apart{
		{"an interface and the port", onTables, input("drop", `iifname "eth0" tcp dport 8443 accept`)},
		{"the interface by its index", onTables, input("accept",
			"iif eth0 tcp dport 8443 accept\ntcp dport 8443 reject")},
		{"all of the interface", onTables, input("drop", `iifname "eth0" accept`)},
		{"a network and the port", onTables, input("drop",
			"ip saddr 192.0.2.0/24 tcp dport 8443 accept\nip6 saddr 2001:db8::/64 tcp dport 8443 accept")},
		{"all but a network are dropped", onTables, input("accept",
			"ip saddr != 192.0.2.0/24 tcp dport 8443 drop\nip6 saddr != 2001:db8::/64 tcp dport 8443 drop")},
		{"a list of networks that nobody has", onTables, loaded(tableOf("inet bogons", "pre",
			"filter hook prerouting priority raw", "ip saddr { 10.0.0.0/8, 198.18.0.0/15, 240.0.0.0/4 } drop\n"+
				"ip6 saddr { 2001:2::/48, 3ffe::/16 } drop"))},
		{"zones by a map", onTables, loaded("table inet zones {\nchain wan {\ntcp dport 8443 accept\n}\n" +
			"chain input {\ntype filter hook input priority filter; policy drop\n" +
			"ct state established,related accept\n" +
			"icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
			"iifname vmap { lo : accept, eth0 : jump wan }\n}\n}\n")},
		{"a jump for all but one interface", onTables, loaded("table inet jumps {\nchain others {\ndrop\n}\n" +
			"chain input {\ntype filter hook input priority filter\n" +
			"iifname != eth0 tcp dport 8443 jump others\n}\n}\n")},
		{"all but some interfaces are dropped", onTables, loaded(tableOf("inet early", "pre",
			"filter hook prerouting priority raw", "iifname != { eth0, lo } drop"))},
		{"where answers go", onTables, loaded(tableOf("inet out", "out",
			"filter hook output priority filter; policy drop", "oifname eth0 accept"))},
		{"iptables-nft", onIPTables, both("nft", "-i eth0 -p tcp --dport 8443 -j ACCEPT",
			"-p tcp --dport 8443 -j REJECT")},
		{"iptables-legacy, a rule before", onLegacy, both("legacy", "-i eth0 -p tcp --dport 8443 -j ACCEPT",
			"-p tcp --dport 8443 -j REJECT")},
		{"iptables-legacy, the rule itself", onLegacy, both("legacy", "! -i eth0 -p tcp --dport 8443 -j DROP")},
	}
}

// Where rules tell clients apart, what became of the probe says nothing of them: check says so, which is nothing that
// is wrong, and has no cure, which would let in everybody.
func TestCheckTellsWhoIsLetIn(t *testing.T) {
	each(t, hostsThatTellApart(), func(h apart) string { return h.name }, func(t *testing.T, h apart) {
		s := brokenHost{on: h.on}.make(t)
		h.also(s)
		for _, q := range s.asks {
			if !s.comes(q) {
				t.Fatalf("%s is not answered", q)
			}
		}
		before := s.ruleset()
		found := s.check()
		for _, id := range found.ids() {
			if id != finding.CertainClients {
				t.Errorf("found %+v", found.findings())
			}
		}
		if found.Code != 0 || len(found.ids()) == 0 || found.Mappings[0].Status != "not tried" {
			t.Errorf("exit %d, %s, found %+v", found.Code, found.Mappings[0].Status, found.findings())
		}
		if s.p.try("check", "--fix", "--yes"); s.ruleset() != before {
			t.Errorf("--fix types something:\n%s", lineDiff(before, s.ruleset()))
		}
	})
}

// A limit on connections is met by the packets of the probe, which come at once, and not by clients.
func TestCheckMeetsLimits(t *testing.T) {
	s := brokenHost{add: "443:8443 -4"}.make(t)
	s.p.run("add", "-q", "-4", "444:8443", "445:8443", "446:8443")
	for _, c := range []struct {
		rules string
		limit bool
	}{
		{"tcp flags syn limit rate over 1/minute burst 2 packets drop", true},
		{"tcp flags syn limit rate 1/minute burst 2 packets accept\ntcp flags syn drop", true},
		{"tcp flags syn jump flood\n}\nchain flood {\nlimit rate 1/minute burst 2 packets return\ndrop", true},
		{"limit rate 1/minute log\nmeta l4proto icmp limit rate 1/second accept\ntcp flags syn drop", false},
	} {
		loadText(t, s.host, inputOf("accept", c.rules))
		found := s.check()
		limits := !slices.ContainsFunc(found.ids(), func(id finding.ID) bool { return id != finding.CertainClients })
		if (found.Code == 0) != c.limit || limits != c.limit || len(found.ids()) == 0 {
			t.Errorf("%s: exit %d, %+v", c.rules, found.Code, found.findings())
		}
		s.run("nft delete table inet filter")
	}
}

// Rules that keep out all clients are told from those that tell them apart: what lets in others, or comes too late,
// lets in none of them.
func TestCheckTellsWhoIsKeptOut(t *testing.T) {
	s := brokenHost{add: "443:8443 -4", asks: []question{ask4}}.make(t)
	for _, rules := range []string{
		"iifname docker0 accept\nip saddr 10.0.0.0/8 accept\ndrop",
		"iifname eth0 tcp dport 22 accept\ndrop",
		"iifname vmap { lo : accept, eth0 : jump more }\ndrop\n}\nchain more {\ntcp dport 22 accept",
		"drop\niifname eth0 tcp dport 8443 accept",
		"tcp flags syn jump flood\ndrop\n}\nchain flood {\nlimit rate 25/second return\ndrop",
		"iifname != lo tcp dport 8443 drop",
		"ip saddr != 127.0.0.0/8 tcp dport 8443 reject",
		"iifname eth1 tcp dport 8443 accept\ndrop",
	} {
		loadText(t, s.host, inputOf("accept", rules))
		if s.reached(ask4, silence) {
			t.Fatalf("%s: %s is answered", rules, ask4)
		}
		found := s.check()
		if found.Code != 1 || !slices.Equal(found.ids(), []finding.ID{finding.RuleDrops}) {
			t.Errorf("%s: exit %d, %+v", rules, found.Code, found.findings())
		}
		s.run("nft delete table inet filter")
	}
}

// Where rules tell the clients of one family apart, there is no cure for the other one: it would let in everybody.
func TestCheckCuresNoOtherFamily(t *testing.T) {
	s := brokenHost{}.make(t)
	loaded(inputOf("drop", "ip saddr 192.0.2.99 tcp dport 8443 accept"))(s)
	found := s.check()
	if want := []finding.ID{finding.FirewallDrops, finding.CertainClients}; !slices.Equal(found.ids(), want) {
		t.Fatalf("found %+v", found.findings())
	}
	if first := found.findings()[0]; first.Remedy != "" || first.Undo != "" {
		t.Errorf("there is a cure: %+v", first)
	}
}

// Where a policy drops what a limit leaves, the limit of a rule that rejects lets in nobody.
func TestCheckOfALimitBeforeAPolicy(t *testing.T) {
	s := brokenHost{add: "443:8443 -4", asks: []question{ask4}}.make(t)
	const limited = "meta pkttype host limit rate 5/second reject"
	for rules, want := range map[string][]finding.ID{
		limited:                                 {finding.RuleDrops, finding.FirewallDrops},
		limited + "\ntcp dport 22 accept":       {finding.RuleDrops, finding.FirewallDrops},
		limited + "\ntcp dport 8443 accept":     {finding.CertainClients},
		"ip saddr 198.18.0.0/15 reject":         {finding.RuleDrops, finding.FirewallDrops},
		"ip saddr 198.18.0.0/15 reject\naccept": {finding.CertainClients},
	} {
		loadText(t, s.host, inputOf("drop", rules))
		if found := s.check(); !slices.Equal(found.ids(), want) {
			t.Errorf("%s: found %+v, not %v", rules, found.findings(), want)
		}
		s.run("nft delete table inet filter")
	}
}

// Rules for the interface on which clients come in, and the probe does not, are read. A drop there stops clients,
// unless a rule before it may let them in.
func TestCheckReadsRulesOfAnInterface(t *testing.T) {
	s := brokenHost{add: "443:8443 -4", asks: []question{ask4}}.make(t)
	s.run("ip route add default via 192.0.2.2")
	const before = "ct state established,related accept\n"
	nft := func(rules string) func() {
		return func() { loadText(s.T, s.host, inputOf("accept", rules)) }
	}
	lines := func(tool, rules string) func() {
		return func() {
			for _, rule := range strings.Split(rules, "\n") {
				s.run(tool + " -A INPUT " + rule)
			}
		}
	}
	for _, c := range []struct {
		name  string
		load  func()
		stops bool
	}{
		{"all of it", nft(before + "iifname eth0 drop"), true},
		{"a zone", nft(before + "iifname eth0 jump wan\n}\nchain wan {\ntcp dport 443 accept\nreject"), true},
		{"a map of zones", nft("iifname vmap { eth0 : jump wan }\n}\nchain wan {\ntcp dport 22 accept\ndrop"), true},
		{"iptables-nft", lines("iptables-nft", "-i eth0 -p tcp --dport 443 -j ACCEPT\n-i eth0 -j DROP"), true},
		{"iptables-legacy", lines("iptables-legacy", "-i eth0 -p tcp --dport 443 -j ACCEPT\n-i eth0 -j DROP"), true},
		{"accepted before", nft("tcp dport 8443 accept\niifname eth0 drop"), false},
		{"accepted now and then", nft("tcp dport 8443 limit rate 9/second accept\niifname eth0 drop"), false},
		{"what is translated is accepted", nft("ct status dnat accept\niifname eth0 drop"), false},
		{"another interface", nft("iifname eth1 drop"), false},
		{"another port", nft("iifname eth0 tcp dport 22 drop"), false},
		{"some clients", nft("iifname eth0 ip saddr 203.0.113.0/24 drop"), false},
		{"invalid packets", nft("iifname eth0 ct state invalid drop"), false},
	} {
		c.load()
		found := s.check()
		var want []finding.ID
		status := "reachable"
		if c.stops {
			want, status = []finding.ID{finding.CertainClients}, "not tried"
		}
		if s.reached(ask4, silence) == c.stops {
			t.Errorf("%s: clients are answered: %v", c.name, !c.stops)
		}
		if found.Code != 0 || !slices.Equal(found.ids(), want) || found.Mappings[0].Status != status {
			t.Errorf("%s: exit %d, %s, %+v", c.name, found.Code, found.Mappings[0].Status, found.findings())
		}
		s.run("nft delete table inet filter 2>/dev/null || :\niptables-nft -F INPUT\niptables-legacy -F INPUT")
	}
}
