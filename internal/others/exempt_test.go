package others

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// A rule by hand is kept off by one before it, and nothing is said of it then. The undo takes that away again. Rules of
// tools are left alone, as are those for some clients.
func TestExempt(t *testing.T) {
	pre := func(table, kind, priority, rules string) string {
		return fmt.Sprintf("table %s { chain pre { type %s hook prerouting priority %s; %s; }; }\n",
			table, kind, priority, rules)
	}
	const notrack, redirect = "tcp dport 443 notrack", "tcp dport 443 redirect to :9443"
	behind := func(rules string) string { return pre("inet a", "nat", "-150", rules+"; "+redirect) }
	raw := func(rules string) string { return pre("inet a", "filter", "-300", rules) }
	iptables := func(rule string) string {
		const add = "iptables-nft -t raw -A PREROUTING "
		return add + rule + "\n" + add + "-p tcp --dport 443 -j CT --notrack"
	}
	for _, c := range []struct {
		name, rules, add string
		says             finding.ID
		cured            bool
	}{
		{"translated", pre("inet a", "nat", "-150", "tcp dport 443 redirect to :9443"), "443:8443",
			finding.ForeignRuleFirst, true},
		{"by two tables", pre("ip a", "nat", "-150", "tcp dport 443 redirect to :9443") +
			pre("inet b", "nat", "-140", "tcp dport { 80, 443 } redirect to :9444"), "443:8443",
			finding.ForeignRuleFirst, true},
		{"in a chain that is jumped to", "table inet a { chain b { udp dport 443 redirect to :9443; }; }\n" +
			pre("inet a", "nat", "-150", "jump b"), "443:8443/tcp,udp", finding.ForeignRuleFirst, true},
		{"by one rule for both protocols", pre("inet a", "nat", "-150",
			"meta l4proto { tcp, udp } th dport 443 redirect to :9443"), "443:8443/tcp,udp",
			finding.ForeignRuleFirst, true},
		{"of one interface", "table inet a { chain b { tcp dport 443 redirect to :9443; }; }\n" +
			pre("inet a", "nat", "-150", "iifname eth0 jump b"), "443:8443", finding.ForeignRuleFirst, true},
		{"of one network", "table inet a { chain b { tcp dport 443 redirect to :9443; }; }\n" +
			pre("inet a", "nat", "-150", "ip saddr 10.0.0.0/8 jump b"), "443:8443", finding.ForeignRuleFirst, true},
		{"one address", pre("inet a", "nat", "-150", "tcp dport 443 redirect to :9443"), "192.0.2.1:443:8443",
			finding.ForeignRuleFirst, true},
		{"a range", pre("inet a", "nat", "-150", "tcp dport 443 redirect to :9443"), "440-445:8440-8445",
			finding.ForeignRuleFirst, true},
		{"not tracked", pre("inet a", "filter", "-300", "tcp dport 443 notrack"), "443:8443", finding.Untracked, true},
		{"not tracked, and accepted", raw(notrack + " accept"), "443:8443", finding.Untracked, true},
		{"behind others", behind("fib daddr type != local accept; fib saddr type local accept; " +
			"ip daddr != 192.0.2.1 accept; ip daddr 192.0.2.9 accept; " +
			"udp dport 443 accept; tcp dport 444 accept; iifname eth9 accept; ip saddr 10.0.0.0/8 accept"), "443:8443",
			finding.ForeignRuleFirst, true},
		{"behind this host's own", behind("ip saddr 127.0.0.1 accept"), "443:8443 -4", finding.ForeignRuleFirst, true},
		{"behind a map", behind("tcp dport vmap { 443 : continue, 22 : accept }"), "443:8443",
			finding.ForeignRuleFirst, false},
		{"not tracked, behind others", iptables("-m addrtype --dst-type MULTICAST -j ACCEPT"), "443:8443",
			finding.Untracked, true},
		{"not tracked, behind others, legacy", strings.ReplaceAll(iptables("-m addrtype ! --dst-type LOCAL -j ACCEPT"),
			"-nft", "-legacy"), "443:8443", finding.Untracked, true},
		{"not tracked, behind own", iptables("-s 127.0.0.1 -j ACCEPT"), "443:8443", finding.Untracked, true},
		{"not tracked, before a drop", raw(notrack + "; ip saddr 203.0.113.0/24 drop"), "443:8443",
			finding.Untracked, false},
		{"not tracked, before a policy", raw("policy drop; " + notrack + "; ip saddr 10.0.0.0/8 accept"), "443:8443",
			finding.Untracked, false},
		{"not tracked, behind a drop", iptables("-s 203.0.113.0/24 -j DROP"), "443:8443", finding.Untracked, false},
		{"not tracked, a drop for a container", iptables("-d 172.17.0.2 ! -i docker0 -j DROP"), "443:8443",
			finding.Untracked, true},
		{"not tracked, before many", "table inet a { chain b { " + strings.Repeat("ip saddr 203.0.113.1 drop; ", 501) +
			"}; }\n" + raw(notrack+"; jump b"), "443:8443", finding.Untracked, false},
		{"some clients", pre("inet a", "nat", "-150", "tcp dport 443 redirect to :9443"),
			"443:8443 --source 10.0.0.0/8", finding.ForeignRuleFirst, false},
		{"a tool's", pre("inet firewalld", "nat", "-150", "tcp dport 443 redirect to :9443"), "443:8443",
			finding.ForeignRuleFirst, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			host.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
			host.Address("eth0", "192.0.2.1/24")
			if strings.HasPrefix(c.rules, "iptables") {
				host.Run("sh", "-ec", c.rules)
			} else {
				host.Run("nft", c.rules)
			}
			look := func() (found []finding.Finding) {
				host.Do(func() {
					r, err := Look(context.Background(), lab.Mappings(t, c.add))
					if err != nil {
						t.Error(err)
					}
					found = Advise(r, Tables)
				})
				return found
			}
			found := look()
			if len(found) != 1 || found[0].ID != c.says || (found[0].Remedy != "") != c.cured {
				t.Fatalf("found %+v", found)
			}
			if !c.cured {
				return
			}
			before := host.Ruleset()
			host.Run("sh", "-ec", "sudo() { \"$@\"; }; "+found[0].Remedy)
			if again := look(); len(again) != 0 {
				t.Errorf("after %s: %+v", found[0].Remedy, again)
			}
			host.Run("sh", "-ec", "sudo() { \"$@\"; }; "+found[0].Undo)
			if after := host.Ruleset(); after != before {
				t.Errorf("after %s:\n%s\nbefore:\n%s", found[0].Undo, after, before)
			}
		})
	}
}
