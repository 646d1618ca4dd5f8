package others

import (
	"context"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// banning are firewalls that ban 198.51.100.7 from port 443, in their usual shapes.
func banning() []struct {
	name  string
	nft   string
	lines []string
	add   string // 443:8443 if it is empty
	says  string // nothing if it is empty
} {
	firewalld := func(rule string) string {
		return `table inet firewalld {
			set bad { type ipv4_addr; flags interval; elements = { 198.51.100.7, 203.0.113.0/24 }; }
			chain filter_INPUT { type filter hook input priority filter + 10; policy accept
				ct state { established, related } accept; ct status dnat accept; iifname lo accept
				jump filter_INPUT_ZONES; ct state invalid drop; reject with icmpx admin-prohibited; }
			chain filter_INPUT_ZONES { iifname "eth0" goto filter_IN_public; goto filter_IN_public; }
			chain filter_IN_public { jump filter_IN_public_deny; jump filter_IN_public_allow; }
			chain filter_IN_public_deny { ` + rule + `; }
			chain filter_IN_public_allow { tcp dport { 22, 443 } accept; }
		}`
	}
	fail2ban := func(tool, ports string) []string {
		return []string{
			tool + " -N f2b-nginx",
			tool + " -I INPUT -p tcp -m multiport --dports " + ports + " -j f2b-nginx",
			tool + " -A f2b-nginx -j RETURN",
			tool + " -I f2b-nginx 1 -s 198.51.100.7/32 -j REJECT --reject-with icmp-port-unreachable",
		}
	}
	const f2bTable = `table inet f2b-table {
		set addr-set-nginx { type ipv4_addr; elements = { 198.51.100.7 }; }
		chain f2b-chain { type filter hook input priority filter - 1; policy accept
			tcp dport { 80, 443 } ip saddr @addr-set-nginx reject with icmp port-unreachable; }
	}`
	plain := func(rules string) string {
		return "table inet filter { chain input { type filter hook input priority filter; policy accept; " + rules +
			" } }"
	}
	return []struct {
		name  string
		nft   string
		lines []string
		add   string
		says  string
	}{
		{name: "firewalld, no ban", nft: firewalld("")},
		{name: "firewalld, rich rule", nft: firewalld("ip saddr 198.51.100.7 drop"),
			says: "table inet firewalld, chain filter_IN_public_deny (firewalld) bans 198.51.100.7, which reaches 4"},
		{name: "firewalld, a set", nft: firewalld("ip saddr @bad reject"), says: " bans 198.51.100.7 (and 1 more), "},
		{name: "firewalld, other port", nft: firewalld("tcp dport 80 ip saddr 198.51.100.7 drop")},
		{name: "firewalld, other sources", nft: firewalld("ip saddr 198.51.100.7 drop"),
			add: "443:8443 --source 192.0.2.0/24"},
		{name: "firewalld, other family", nft: firewalld("ip saddr 198.51.100.7 drop"), add: "443:8443 -6"},
		{name: "firewalld, IPv6", nft: firewalld("ip6 saddr 2001:db8:1::/48 drop"), says: "bans 2001:db8:1::/48, "},
		{name: "fail2ban, iptables-nft", lines: fail2ban("iptables-nft", "80,443"),
			says: "(fail2ban) bans 198.51.100.7, which reaches 443:8443/tcp all the same: what the mapping " +
				"translates passes it by; for later bans, add port 8443 to `port` of the jail"},
		{name: "fail2ban, iptables-legacy", lines: fail2ban("iptables-legacy", "80,443"), says: "filter of iptables-l"},
		{name: "fail2ban, both ports", lines: fail2ban("iptables-nft", "443,8443")},
		{name: "fail2ban, both ports, iptables-legacy", lines: fail2ban("iptables-legacy", "443,8443")},
		{name: "fail2ban, its table", nft: f2bTable, says: "table inet f2b-table, chain f2b-chain (fail2ban) bans 198"},
		{name: "fail2ban, to another host", lines: fail2ban("iptables-nft", "443"), add: "443:10.0.0.5:8443",
			says: "reaches 443:10.0.0.5:8443/tcp"},
		{name: "plain, all ports", nft: plain("ip saddr 198.51.100.7 drop;")},
		{name: "plain, all ports, to another host", nft: plain("ip saddr 198.51.100.7 drop;"), add: "443:10.0.0.5:8443",
			says: "reaches 443:10.0.0.5"},
		{name: "plain, what is mapped before",
			nft:  plain("ct state invalid drop; tcp dport 8443 ct status dnat accept; ip saddr 198.51.100.7 drop;"),
			says: "table inet filter, chain input bans 198.51.100.7, which reaches 443:8443/tcp all the same"},
		{name: "plain, the port before", nft: plain("tcp dport 443 accept; ip saddr 198.51.100.7 tcp dport 443 drop;")},
		{name: "plain, others are dropped, too", nft: strings.Replace(
			plain("ip saddr 198.51.100.7 tcp dport 443 drop;"), "policy accept", "policy drop", 1)},
		{name: "plain, before NAT", nft: plain("tcp dport 443 ip saddr 198.51.100.7 drop;") +
			" table inet early { chain pre { type filter hook prerouting priority mangle; " +
			"ip saddr 198.51.100.0/24 drop; } }"},
	}
}

// A ban that clients of a mapping are not subject to is told of. The remedy bans them before NAT, and its undo leaves
// nothing.
func TestBans(t *testing.T) {
	for _, c := range banning() {
		t.Run(c.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			foreignRules{name: c.name, nft: c.nft, lines: c.lines}.seed(t, host)
			if c.add == "" {
				c.add = "443:8443"
			}
			bans := func() (found []finding.Finding) {
				var err error
				mappings := lab.Mappings(t, c.add, "22:2222 --source 192.0.2.0/24")
				host.Do(func() {
					var f Filters
					f, err = LookFilters(context.Background())
					found = f.Bans(mappings)
				})
				if err != nil {
					t.Fatal(err)
				}
				return found
			}
			found := bans()
			if len(found) != min(len(c.says), 1) ||
				len(found) > 0 && (found[0].ID != finding.BansBypassed || !strings.Contains(found[0].Text, c.says)) {
				t.Fatalf("%+v, want %q", found, c.says)
			}
			if c.says == "" {
				return
			}
			host.Run("sh", "-ec", strings.ReplaceAll(found[0].Remedy, "sudo ", ""))
			if after := bans(); len(after) > 0 {
				t.Errorf("%q\ndoes not cure: %+v", found[0].Remedy, after)
			}
			host.Run("sh", "-ec", strings.ReplaceAll(found[0].Undo, "sudo ", ""))
			if again := bans(); len(again) != 1 || again[0].String() != found[0].String() {
				t.Errorf("after the undo: %+v", again)
			}
		})
	}
}

// A rule that leads the target port back is told of once, whichever way it leads.
func TestBack(t *testing.T) {
	nat := func(rules string) string {
		return "table ip mine { chain pre { type nat hook prerouting priority dstnat; " + rules + " }\n" +
			"chain out { type nat hook output priority -100; " + rules + " } }"
	}
	const redirect = " -t nat -A PREROUTING -p tcp --dport 8443 -j REDIRECT --to-ports 443"
	for _, c := range []struct {
		name, nft string
		lines     []string
		add, says string
	}{
		{name: "redirect", nft: nat("tcp dport 8443 redirect to :443;"), add: "443:8443",
			says: "table ip mine, chain pre: tcp dport 8443 redirect to :443"},
		{name: "DNAT", nft: nat("tcp dport 8443 dnat to 192.0.2.1:443;"), add: "440-443:8440-8443", says: "2.1:443"},
		{name: "iptables", lines: []string{"iptables-nft" + redirect},
			add: "443:8443", says: "table ip nat, chain PREROUTING"},
		{name: "legacy", lines: []string{"iptables-legacy" + redirect},
			add: "443:8443", says: "nat of iptables-legacy"},
		{name: "to another port", nft: nat("tcp dport 8443 redirect to :444;"), add: "443:8443"},
		{name: "another port", nft: nat("tcp dport 8442 redirect to :443;"), add: "443:8443"},
		{name: "another protocol", nft: nat("udp dport 8443 redirect to :443;"), add: "443:8443"},
		{name: "another family", nft: nat("tcp dport 8443 redirect to :443;"), add: "443:8443 -6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			foreignRules{name: c.name, nft: c.nft, lines: c.lines}.seed(t, host)
			found := Back(look(t, host, c.add))
			if len(found) != min(len(c.says), 1) ||
				len(found) > 0 && (found[0].ID != finding.RedirectBack || !strings.Contains(found[0].Seen, c.says) ||
					!strings.Contains(found[0].Text, "another rule leads port 8443 back to 443: ")) {
				t.Errorf("%+v, want %q", found, c.says)
			}
		})
	}
}
