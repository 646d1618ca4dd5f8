package integration

import (
	"path/filepath"
	"strings"

	"portmap/internal/finding"
)

// hostsFiltered have a rule that drops or rejects.
func hostsFiltered() []brokenHost {
	var list []brokenHost
	for _, h := range []struct {
		cause, rules string
		finds        finding.ID
	}{
		{"a policy to drop, nft", inputOf("drop", ""), finding.FirewallDrops},
		{"a rule that drops, nft", inputOf("accept", "tcp dport 8443 drop"), finding.RuleDrops},
		{"a rule that rejects, nft", inputOf("accept", "tcp dport 8443 reject"), finding.RuleDrops},
		{"a rule for one family, nft", inputOf("accept", "meta nfproto ipv6 tcp dport 8443 drop"), finding.RuleDrops},
		{"a chain that is jumped to, nft", "table ip filter {\nchain deep {\ntcp dport 8000-9000 drop\n}\n}\n" +
			tableOf("ip filter", "input", "filter hook input priority filter", "tcp dport 1024-65535 jump deep"),
			finding.RuleDrops},
		{"dropped before it is translated, nft", tableOf("inet early", "pre",
			"filter hook prerouting priority raw", "tcp dport 443 drop"), finding.RuleDrops},
	} {
		list = append(list, brokenHost{cause: h.cause, finds: h.finds, breaks: loaded(h.rules)})
	}
	for _, h := range []struct {
		cause, script string
		finds         finding.ID
		on            func() backend
	}{
		{"a policy to drop, iptables-nft", "for v in iptables ip6tables; do $v-nft -A INPUT -m conntrack --ctstate " +
			"ESTABLISHED -j ACCEPT; $v-nft -P INPUT DROP; done; ip6tables-nft -A INPUT -p icmpv6 -j ACCEPT",
			finding.FirewallDrops, onIPTables},
		{"a rule that drops, iptables-nft", "for v in iptables ip6tables; do $v-nft -A INPUT -p tcp --dport 8443 " +
			"-j DROP; done", finding.RuleDrops, onIPTables},
		{"a rule that rejects, iptables-nft, beside nft", "iptables-nft -A INPUT -s 192.0.2.77 -j DROP; " +
			"iptables-nft -A INPUT -p tcp --dport 8443 -j REJECT", finding.RuleDrops, onTables},
		{"ip6tables drops", "ip6tables-nft -A INPUT -p tcp --dport 8443 -j DROP", finding.RuleDrops, onIPTables},
		{"a policy to drop, iptables-legacy", "for v in iptables ip6tables; do $v-legacy -A INPUT -m conntrack " +
			"--ctstate ESTABLISHED -j ACCEPT; $v-legacy -P INPUT DROP; done; ip6tables-legacy -A INPUT -p icmpv6 " +
			"-j ACCEPT", finding.FirewallDrops, onLegacy},
		{"a rule that drops, iptables-legacy", "iptables-legacy -A INPUT -p tcp --dport 8443 -j DROP",
			finding.RuleDrops, onLegacy},
		{"a rule that drops, iptables-legacy, beside nft", "iptables-legacy -A INPUT -p tcp --dport 8443 -j DROP",
			finding.RuleDrops, onTables},
		{"answers dropped, iptables-nft", "iptables-nft -A OUTPUT -o lo -j ACCEPT; iptables-nft -P OUTPUT DROP",
			finding.AnswerDropped, onIPTables},
	} {
		list = append(list, brokenHost{cause: h.cause, finds: h.finds, on: h.on, breaks: typed(h.script)})
	}
	return append(list, brokenHost{cause: "answers dropped, nft", finds: finding.AnswerDropped,
		breaks: loaded(tableOf("inet out", "out", "filter hook output priority filter; policy drop",
			"oifname lo accept\nudp dport 53 accept\nicmpv6 type != echo-request accept"))})
}

// ufwRules are those of ufw with its default, as far as a packet to a server meets them.
const ufwRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw%-before-forward - [0:0]
:ufw%-before-input - [0:0]
:ufw%-user-input - [0:0]
-A INPUT -j ufw%-before-input
-A FORWARD -j ufw%-before-forward
-A ufw%-before-input -i lo -j ACCEPT
-A ufw%-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw%-before-input -p PING -j ACCEPT
# End required lines
-A ufw%-before-input -j ufw%-user-input
-A ufw%-user-input -p tcp --dport 22 -j ACCEPT
COMMIT
`

// hostsWithFirewalls have what firewalls make.
func hostsWithFirewalls() []brokenHost {
	firewalld := tableOf("inet firewalld", "filter_INPUT", "filter hook input priority filter + 10",
		"ct state established,related accept\niifname lo accept\nicmpv6 type { nd-neighbor-solicit, "+
			"nd-neighbor-advert } accept\ntcp dport 22 accept\nreject with icmpx admin-prohibited")
	return []brokenHost{
		{cause: "ufw", finds: finding.FirewallDrops, on: onIPTables, breaks: ufw, then: ufwAgain},
		{cause: "firewalld with StrictForwardPorts", finds: finding.RuleDrops, breaks: loaded(firewalld),
			hand: typed("nft insert rule inet firewalld filter_INPUT ct status dnat accept")},
		{cause: "a ban that is passed by, fail2ban", finds: finding.BansBypassed, on: onIPTables,
			breaks: typed("iptables-nft -N f2b-nginx\niptables-nft -I INPUT -p tcp -m multiport --dports 80,443 " +
				"-j f2b-nginx\niptables-nft -A f2b-nginx -s 192.0.2.66/32 -j REJECT\niptables-nft -A f2b-nginx " +
				"-j RETURN"),
			then: func(s *checkedHost) {
				s.client.Run("ip", "address", "replace", "192.0.2.66/24", "dev", "eth0")
				a, err := s.client.AskWithin(silence, "tcp", "192.0.2.66", "192.0.2.1:443")
				if err == nil && !a.TimedOut {
					s.Errorf("who is banned is answered: %+v", a)
				}
			}},
	}
}

// ufwAgain reloads ufw, after which a cure must still be there.
func ufwAgain(s *checkedHost) {
	s.run("ufw")
	for _, q := range s.asks {
		if !s.comes(q) {
			s.Errorf("%s is not answered after ufw was reloaded", q)
		}
	}
}

// ufw loads its rules, and lets its files and its reload be in the place of those of this system.
func ufw(s *checkedHost) {
	dir := s.TempDir()
	for version, icmp := range map[string]string{"": "icmp", "6": "icmpv6"} {
		text := strings.NewReplacer("%", version, "PING", icmp).Replace(ufwRules)
		write(s.T, filepath.Join(dir, "before"+version+".rules"), text)
	}
	s.lead = strings.ReplaceAll("sed() { command sed \"$1\" \"$2\" DIR/${3##*/}; }\n"+
		"ufw() { iptables-nft-restore DIR/before.rules; ip6tables-nft-restore DIR/before6.rules; }\n", "DIR", dir)
	s.run("ufw")
}
