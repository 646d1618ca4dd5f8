package others

import (
	"context"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// dropping are firewalls that drop, and what is said of them beside some mappings.
type dropping struct {
	name   string
	nft    string   // rules behind the usual ones of a chain of nft
	lines  []string // commands of iptables
	add    string   // mappings, with & between them; 443:8443 if it is empty
	says   string   // nothing if it is empty
	remedy string
}

// usual are rules that most firewalls begin with. None lets in a client of the target port.
const usual = "ct state { established, related } accept; iif lo accept; iifname lo accept; ct state invalid drop; " +
	"meta l4proto icmp accept; tcp dport 22 accept; ip saddr 10.0.0.0/8 accept;"

// inputs writes a chain INPUT of iptables that drops, and more rules.
func inputs(tool string, rules ...string) (lines []string) {
	for _, r := range append([]string{"-P INPUT DROP", "-A INPUT -i lo -j ACCEPT",
		"-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "-A INPUT -p tcp --dport 22 -j ACCEPT"},
		rules...) {
		lines = append(lines, tool+" "+r)
	}
	return lines
}

const (
	nft443 = "sudo nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst 443 " +
		"accept comment '\"portmap 443/tcp\"'"
	mapped443 = " -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 -j ACCEPT"
	forUFW    = "sudo sed -i '/^# End required lines/a -A ufw-before-input" + mapped443 + "' /etc/ufw/before.rules" +
		" && sudo sed -i '/^# End required lines/a -A ufw6-before-input" + mapped443 + "' /etc/ufw/before6.rules" +
		" && sudo ufw reload"
)

func droppings() []dropping {
	both := func(rules ...string) []string {
		return append(inputs("iptables-nft", rules...), inputs("ip6tables-nft", rules...)...)
	}
	ufw := func(rule string) (lines []string) {
		for tool, chain := range map[string]string{
			"iptables-nft": "ufw-before-input", "ip6tables-nft": "ufw6-before-input",
		} {
			rules := []string{"-N " + chain, "-A INPUT -j " + chain}
			if rule != "" {
				rules = append(rules, "-A "+chain+rule)
			}
			lines = append(lines, inputs(tool, rules...)...)
		}
		return lines
	}
	return []dropping{
		{name: "usual", nft: usual, remedy: nft443,
			says: "warning: table inet filter, chain input, drops what none of its rules accepts, and none accepts " +
				"port 8443: other hosts do not reach 443:8443/tcp; to let"},
		{name: "the remedy", nft: usual + "tcp dport 8443 ct status dnat accept;"},
		{name: "by the first port", nft: usual + "meta l4proto tcp ct status dnat ct original proto-dst 443 accept;"},
		{name: "by first ports", nft: usual + "meta l4proto tcp ct original proto-dst { 80, 443 } accept;"},
		{name: "by another first port", nft: usual + "meta l4proto tcp ct original proto-dst 80 accept;",
			says: "none accepts port 8443", remedy: nft443},
		{name: "all that is mapped", nft: usual + "ct status dnat accept;"},
		{name: "the target port", nft: usual + "ct state new tcp dport 8443 limit rate 9/second accept;"},
		{name: "a set", nft: usual + "tcp dport { 80, 8000-9000 } accept;"},
		{name: "a map", nft: usual + "tcp dport vmap { 80 : accept, 8443 : accept };"},
		{name: "a map of interfaces", nft: usual + "iifname vmap { lo : accept, eth0 : accept };"},
		{name: "a map of indexes", nft: usual + "iif vmap { lo : accept };", says: "port 8443", remedy: nft443},
		{name: "the public port", nft: usual + "tcp dport 443 accept;", says: "port 8443", remedy: nft443},
		{name: "other protocol", nft: usual + "udp dport 8443 accept;", says: "port 8443", remedy: nft443},
		{name: "one family", nft: usual + "meta nfproto ipv4 tcp dport 8443 accept;",
			says: "do not reach 443:8443/tcp over IPv6; to", remedy: nft443},
		{name: "its family", nft: usual + "meta nfproto ipv4 tcp dport 8443 accept;", add: "443:8443 -4"},
		{name: "loopback", nft: usual, add: "127.0.0.1:443:8443"},
		{name: "both protocols", nft: usual, add: "443:8443/tcp,udp", says: "port 8443",
			remedy: nft443 + " && " + strings.ReplaceAll(nft443, "tcp", "udp")},
		{name: "several targets", nft: usual, add: "443:8443,9443", says: "none accepts port 8443, 9443: ",
			remedy: nft443},
		{name: "one of several targets", nft: usual + "tcp dport 8443 accept;", add: "443:8443,9443",
			says: "do not reach 443:8443,9443/tcp", remedy: nft443},
		{name: "all of several targets", nft: usual + "tcp dport { 8443, 9443 } accept;", add: "443:8443,9443"},
		{name: "a target on another host", nft: usual, add: "443:10.0.0.5:8443"},
		{name: "several", nft: usual, add: "443:8443 & 80:8080 & 53:5353/udp",
			says: "do not reach 443:8443/tcp (and 2 more); to",
			remedy: "sudo nft insert rule inet filter input meta l4proto tcp ct status dnat accept " +
				"comment '\"portmap tcp\"' && " + strings.NewReplacer("tcp", "udp", "443", "53").Replace(nft443)},
		{name: "several listen addresses", nft: usual, add: "192.0.2.1:443:8443 & 192.0.2.2:443:9443",
			says: "(and 1 more)", remedy: nft443},
		{name: "iptables-nft", lines: both(), add: "440-443:8440-8443",
			says: "chain INPUT of iptables drops what none of its rules accepts, and none accepts port 8440-8443: ",
			remedy: "sudo iptables-nft -I INPUT" + strings.Replace(mapped443, "443", "440:443", 1) +
				" && sudo ip6tables-nft -I INPUT" + strings.Replace(mapped443, "443", "440:443", 1)},
		{name: "iptables-nft, the remedy", lines: both("-I INPUT" + mapped443)},
		{name: "iptables-legacy", lines: inputs("iptables-legacy"), add: "443:8443/tcp,udp",
			says: "chain INPUT of iptables-legacy drops what none of its rules accepts, and none accepts port 8443: " +
				"other hosts do not reach 443:8443/tcp,udp over IPv4; to",
			remedy: "sudo iptables-legacy -I INPUT" + mapped443 + " && sudo iptables-legacy -I INPUT" +
				strings.Replace(mapped443, "tcp", "udp", 1)},
		{name: "iptables-legacy, the remedy", lines: inputs("iptables-legacy", "-I INPUT"+mapped443)},
		{name: "iptables-legacy, accept", lines: inputs("iptables-legacy", "-P INPUT ACCEPT")},
		{name: "ufw", lines: ufw(""), says: "ufw drops what none of its rules accepts, and none accepts port 8443: ",
			remedy: forUFW},
		{name: "ufw, the remedy", lines: ufw(mapped443)},
		{name: "ufw, of another port", lines: ufw(mapped443), add: "80:8443", says: "none accepts port 8443",
			remedy: strings.ReplaceAll(forUFW, "443", "80")},
	}
}

// A policy to drop is told of once for each firewall, and only where none of its rules lets clients of a mapping in.
func TestDrops(t *testing.T) {
	for _, c := range droppings() {
		t.Run(c.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			f := foreignRules{name: c.name, lines: c.lines}
			if c.nft != "" {
				f.nft = "table inet filter { chain input { type filter hook input priority filter; policy drop; " +
					c.nft + " } }"
			}
			f.seed(t, host)
			if c.add == "" {
				c.add = "443:8443"
			}
			mappings := strings.Split(c.add, " & ")
			found := look(t, host, mappings...)
			got := Dropped(found)
			if want := min(len(c.says), 1); len(got) != want ||
				want > 0 && (got[0].ID != finding.FirewallDrops || got[0].Remedy != c.remedy) {
				t.Fatalf("%q, want %d with %q", got, want, c.remedy)
			}
			if len(got) > 0 && !strings.Contains(got[0].Line(), c.says) {
				t.Errorf("%s\n\twithout %q", got[0].Line(), c.says)
			}
			if len(got) > 0 && !strings.Contains(got[0].Remedy, "ufw") {
				cured(t, host, got[0], func() []finding.Finding { return Dropped(look(t, host, mappings...)) })
			}
			if advice := Advise(found, Tables); len(advice) > 0 {
				t.Errorf("of rules that translate nothing is said %q", advice)
			}
		})
	}
}

// cured types the remedy of a finding, which must be gone then, and its undo, by which the rules are what they were.
func cured(t *testing.T, host *lab.Host, f finding.Finding, again func() []finding.Finding) {
	t.Helper()
	before := host.Ruleset()
	host.Run("sh", "-c", strings.ReplaceAll(f.Remedy, "sudo ", ""))
	if found := again(); len(found) > 0 {
		t.Errorf("after %s: %q", f.Remedy, found)
	}
	host.Run("sh", "-c", strings.ReplaceAll(f.Undo, "sudo ", ""))
	if after := host.Ruleset(); after != before {
		t.Errorf("after %s the rules are\n%s\nand were\n%s", f.Undo, after, before)
	}
}

func look(t *testing.T, host *lab.Host, mappings ...string) (found Rules) {
	t.Helper()
	var err error
	host.Do(func() { found, err = Look(context.Background(), lab.Mappings(t, mappings...)) })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Nothing is said of chains that accept, that are for packets to other hosts, or that have more rules than are looked
// at.
func TestNoDrops(t *testing.T) {
	many := strings.Repeat(" tcp dport 22 accept;", maxRules+1)
	for _, chain := range []string{
		"type filter hook input priority filter;", "type filter hook forward priority filter; policy drop;",
		"type filter hook input priority filter; policy drop;" + many,
	} {
		host := lab.New(t).Host("host")
		foreignRules{name: chain, nft: "table inet filter { chain c { " + chain + " } }"}.seed(t, host)
		if got := Dropped(look(t, host, "443:8443")); len(got) > 0 {
			t.Errorf("%.60s: %q", chain, got)
		}
	}
}

// A policy for what is sent on is told of each mapping to other hosts. The remedy cures it, and its undo takes that
// back.
func TestForwarded(t *testing.T) {
	for _, f := range []foreignRules{
		{name: "nft", nft: "table inet wall { chain forward { type filter hook forward priority filter; policy drop; " +
			"} }"},
		{name: "iptables-nft", lines: []string{"iptables-nft -P FORWARD DROP", "ip6tables-nft -A FORWARD -j ACCEPT"}},
		{name: "Docker, whose rules are for its own networks", lines: []string{
			"ip link add eth0 type veth peer name eth1", "ip link set eth1 up", "ip address add 192.0.2.1/24 dev eth0",
			"ip link set eth0 up",
			"ip route add default via 192.0.2.254", "iptables-nft -P FORWARD DROP", "iptables-nft -N DOCKER",
			"iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			"iptables-nft -A FORWARD -o docker0 -j DOCKER", "iptables-nft -A FORWARD -i docker0 -j ACCEPT",
			"iptables-nft -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 8443 -j ACCEPT",
		}},
	} {
		host := lab.New(t).Host("host")
		f.seed(t, host)
		again := func() []finding.Finding {
			return Forwarded(look(t, host, "440-443:10.0.0.5:8440-8443/tcp,udp", "80:8080"))
		}
		found := again()
		if len(found) != 1 || found[0].ID != finding.ForwardDropped {
			t.Fatalf("%s: %q, want one", f.name, found)
		}
		cured(t, host, found[0], again)
	}
}
