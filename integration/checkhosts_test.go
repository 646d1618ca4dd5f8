package integration

import (
	"fmt"
	"testing"

	"portmap/internal/finding"
)

// brokenHost is a host with one fault. The zero value of a field is what most of them have.
type brokenHost struct {
	cause  string
	finds  finding.ID         // which check must name first
	breaks func(*checkedHost) // makes the fault
	hand   func(*checkedHost) // cures it, where no command is printed that does
	then   func(*checkedHost) // what a person does after the command, such as to plug in a cable
	on     func() backend     // nft
	add    string             // the mapping: 443:8443
	serve  []string           // servers: on 8443 of all addresses over TCP
	asks   []question         // what clients ask: port 443 of both addresses
	only   []string           // arguments of check
	build  func(*testing.T, brokenHost) *checkedHost
	also   []finding.ID // what is found besides, for the same reason
	now    bool         // the fault is there before anybody is answered
	cutOff bool         // no packet comes in at all
	users  bool         // needs several users
}

// make makes the host, without its fault.
func (h brokenHost) make(t *testing.T) *checkedHost {
	t.Helper()
	if h.on == nil {
		h.on = onTables
	}
	if h.add == "" {
		h.add = "443:8443"
	}
	if h.serve == nil {
		h.serve = []string{"tcp [::]:8443"}
	}
	if h.asks == nil {
		h.asks = []question{ask4, ask6}
	}
	var s *checkedHost
	if h.build != nil {
		s = h.build(t, h)
	} else {
		s = newCheckedHost(t, h.on(), h.add, h.serve)
	}
	s.asks = h.asks
	return s
}

const (
	ask4 question = "tcp 192.0.2.1:443"
	ask6 question = "tcp [2001:db8::1]:443"
)

func onTables() backend   { return backends()[0] }
func onIPTables() backend { return backends()[1] }
func onLegacy() backend   { return legacy() }

// tableOf returns a table of nft with one base chain: its type, hook and priority, and lines with its rules.
func tableOf(table, chain, hook, rules string) string {
	return fmt.Sprintf("table %s {\nchain %s {\ntype %s;\n%s\n}\n}", table, chain, hook, rules)
}

// loaded returns what loads rules of nft.
func loaded(text string) func(*checkedHost) {
	return func(s *checkedHost) { loadText(s.T, s.host, text) }
}

// typed returns what runs commands on the host.
func typed(script string) func(*checkedHost) { return func(s *checkedHost) { s.run(script) } }

// inputOf returns a chain by hand on the way to servers.
func inputOf(policy, rules string) string {
	return tableOf("inet filter", "input", "filter hook input priority filter; policy "+policy,
		"ct state established,related accept\nicmpv6 type != echo-request accept\n"+rules)
}

// brokenHosts is the table. No host of it has a fault that a network namespace cannot have: a full table of
// connection tracking, whose limit is that of the system, or a failed boot unit.
func brokenHosts() []brokenHost {
	var list []brokenHost
	for _, part := range [][]brokenHost{hostsWithoutRules(), hostsWithoutServer(), hostsTranslated(), hostsFiltered(),
		hostsWithFirewalls(), hostsWithSettings(), routers()} {
		list = append(list, part...)
	}
	return list
}

// hostsWithoutRules have lost what portmap put into the kernel.
func hostsWithoutRules() []brokenHost {
	return []brokenHost{
		{cause: "flushed, nft", finds: finding.RulesMissing, breaks: func(s *checkedHost) { s.b.flush(s.host) }},
		{cause: "flushed, iptables-nft", finds: finding.RulesMissing, on: onIPTables,
			breaks: func(s *checkedHost) { s.b.flush(s.host) }},
		{cause: "flushed, and a proxy on the listen port", finds: finding.RulesMissing,
			also:   []finding.ID{finding.ServerShadowed},
			breaks: func(s *checkedHost) { s.b.flush(s.host); s.serve("tcp [::]:443") },
			then:   func(s *checkedHost) { s.endServers(); s.serve("tcp [::]:8443") }},
		{cause: "a rule of the mapping deleted", finds: finding.RulesDamaged,
			breaks: typed("nft flush chain inet portmap prerouting")},
	}
}

// hostsTranslated have another rule that takes the packets before the mapping, or does away with it.
func hostsTranslated() []brokenHost {
	elsewhere := func(name, rules string) brokenHost {
		return brokenHost{cause: "translated first, " + name, finds: finding.ForeignRuleFirst, asks: []question{ask4},
			breaks: loaded(rules)}
	}
	untracked := func(name, script string) brokenHost {
		return brokenHost{cause: "not tracked, " + name, finds: finding.Untracked, asks: []question{ask4},
			breaks: typed(script)}
	}
	first := func(name, script, remove string) brokenHost {
		return brokenHost{cause: "translated first, " + name, finds: finding.ForeignRuleFirst, on: onIPTables,
			asks: []question{ask4}, breaks: typed(script), hand: typed(remove)}
	}
	return []brokenHost{
		elsewhere("by hand", tableOf("ip mine", "pre",
			"nat hook prerouting priority -190", "tcp dport 443 dnat to 10.9.9.9:443")),
		elsewhere("by hand, to this host", tableOf("inet mine", "pre",
			"nat hook prerouting priority -150", "tcp dport 443 redirect to :9443")),
		{cause: "translated first, one listen address", finds: finding.ForeignRuleFirst, add: "192.0.2.1:443:8443",
			asks: []question{ask4}, breaks: loaded(tableOf("inet mine", "pre", "nat hook prerouting priority -150",
				"tcp dport { 80, 443 } redirect to :9443"))},
		first("Docker", "iptables-nft -t nat -N DOCKER\n"+
			"iptables-nft -t nat -I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"+
			"iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443",
			"iptables-nft -t nat -F DOCKER"),
		first("kube-proxy", "iptables-nft -t nat -N KUBE-SERVICES\niptables-nft -t nat -N KUBE-NODEPORTS\n"+
			"iptables-nft -t nat -I PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES\n"+
			"iptables-nft -t nat -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"+
			"iptables-nft -t nat -A KUBE-NODEPORTS -p tcp --dport 443 -j DNAT --to-destination 10.244.0.7:8080",
			"iptables-nft -t nat -F KUBE-NODEPORTS"),
		{cause: "translated by firewalld, too", finds: finding.ForeignRuleShadowed,
			breaks: loaded(tableOf("inet firewalld", "nat_PREROUTING", "nat hook prerouting priority dstnat + 10",
				"tcp dport 443 redirect to :9443")),
			hand: typed("nft delete table inet firewalld")},
		{cause: "led back to the listen port", finds: finding.RedirectBack,
			breaks: loaded(tableOf("inet mine", "pre", "nat hook prerouting priority dstnat",
				"tcp dport 8443 redirect to :443")),
			hand: typed("nft delete table inet mine")},
		{cause: "not tracked", finds: finding.Untracked,
			breaks: loaded(tableOf("inet fast", "pre", "filter hook prerouting priority raw",
				"tcp dport 443 notrack"))},
		untracked("iptables-nft", "iptables-nft -t raw -A PREROUTING -p tcp --dport 443 -j CT --notrack"),
		untracked("iptables-legacy", "iptables-legacy -t raw -A PREROUTING -p tcp --dport 443 -j CT --notrack"),
	}
}
