package others

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/rules"
)

func TestMain(m *testing.M) { lab.Main(m) }

// foreignRules are rules of others of some shape, for the port of a mapping.
type foreignRules struct {
	name  string
	nft   string     // for nft -f
	lines []string   // for iptables and ip6tables, each with the tool before it
	says  []string   // what is said of it; nothing where it is empty
	id    finding.ID // of what is said; empty for a rule whose packets the mapping takes
	add   string     // in the place of 443:8443
}

func shapes() []foreignRules {
	docker := func(tool string) []string {
		return []string{
			tool + " -t nat -N DOCKER",
			tool + " -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
			tool + " -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
			tool + " -t nat -A DOCKER -i docker0 -j RETURN",
			tool + " -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443",
			tool + " -t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 443 -j MASQUERADE",
		}
	}
	kubernetes := []string{ // a ClusterIP is no address of this host
		"iptables-nft -t nat -N KUBE-SERVICES",
		"iptables-nft -t nat -N KUBE-SVC-X",
		"iptables-nft -t nat -N KUBE-SEP-X",
		"iptables-nft -t nat -A PREROUTING -m comment --comment portals -j KUBE-SERVICES",
		"iptables-nft -t nat -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment https -m tcp --dport 443 " +
			"-j KUBE-SVC-X",
		"iptables-nft -t nat -A KUBE-SVC-X -m comment --comment endpoint -j KUBE-SEP-X",
		"iptables-nft -t nat -A KUBE-SEP-X -p tcp -m tcp -j DNAT --to-destination 10.0.0.9:6443",
	}
	const firewalld = `table inet firewalld {
		chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept
			jump nat_PREROUTING_ZONES; }
		chain nat_PREROUTING_ZONES { iifname "eth0" goto nat_PRE_public; goto nat_PRE_public; }
		chain nat_PRE_public { jump nat_PRE_public_allow; }
		chain nat_PRE_public_allow { PORTS; }
		chain filter_INPUT { type filter hook input priority filter + 10; ct status dnat accept; tcp dport 443 accept; }
	}`
	firewalldShape := strings.NewReplacer("goto nat_PRE_public; }", "jump nat_PRE_public; }",
		"jump nat_PREROUTING_ZONES", "jump ZONES",
		"chain nat_PREROUTING_ZONES", "chain ZONES").Replace(firewalld)
	byHand := func(rule string) string {
		return "table ip mine { chain pre { type nat hook prerouting priority dstnat; " + rule + "; } }"
	}
	return []foreignRules{
		{name: "none"},
		{name: "Docker, iptables-nft", lines: docker("iptables-nft"), says: []string{
			"another rule translates port 443 already: table ip nat, chain DOCKER: tcp dport 443 dnat to " +
				"172.17.0.2:443 (Docker); "}},
		{name: "Docker, iptables-legacy", lines: docker("iptables-legacy"), says: []string{
			"table nat of iptables-legacy, chain DOCKER: tcp dport 443 dnat to 172.17.0.2:443 (Docker); "}},
		{name: "Docker, other port", lines: docker("iptables-nft"), add: "444:8443"},
		{name: "Docker, other protocol", lines: docker("iptables-legacy"), add: "443:8443/udp"},
		{name: "Docker, other family", lines: docker("iptables-legacy"), add: "443:8443 -6"},
		{name: "Docker, a port of a range", lines: docker("iptables-nft"), add: "440-449:8440-8449/tcp,udp",
			says: []string{"translates port 443 already: table ip nat, chain DOCKER: tcp dport 443 dnat", " 8443"}},
		{name: "Docker, its nftables", nft: `table ip docker-bridges {
			chain nat-prerouting { type nat hook prerouting priority dstnat
				fib daddr type local counter jump nat-prerouting-and-output; }
			chain nat-output { type nat hook output priority -100
				ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output; }
			chain nat-prerouting-and-output {
				iifname != "docker0" tcp dport 443 counter dnat to 172.17.0.2:443 comment "DNAT"; }
		}`,
			says: []string{"table ip docker-bridges, chain nat-prerouting-and-output: tcp dport 443 dnat to " +
				"172.17.0.2:443 (Docker); "}},
		{name: "Kubernetes", lines: kubernetes},
		{name: "firewalld",
			nft: strings.Replace(firewalldShape, "PORTS", "meta nfproto ipv4 tcp dport 443 redirect to :9443", 1),
			says: []string{"table inet firewalld, chain nat_PRE_public_allow: ",
				"tcp dport 443 redirect to :9443 (firewalld)", "; new connections go to port 8443 instead"}},
		{name: "firewalld, the same with StrictForwardPorts, and that is as it must be",
			nft: strings.Replace(firewalldShape, "PORTS", "meta nfproto ipv4 tcp dport 443 redirect to :8443; }\n"+
				"chain filter_INPUT_dnat { accept", 1)},
		{name: "firewalld, the same without",
			nft:  strings.Replace(firewalldShape, "PORTS", "meta nfproto ipv4 tcp dport 443 redirect to :8443", 1),
			says: []string{"tcp dport 443 redirect to :8443 (firewalld)"}},
		{name: "firewalld, another port with StrictForwardPorts",
			nft: strings.Replace(firewalldShape, "PORTS", "meta nfproto ipv4 tcp dport 443 redirect to :9443; }\n"+
				"chain filter_INPUT_dnat { accept", 1),
			says: []string{"tcp dport 443 redirect to :9443 (firewalld)"}},
		{name: "firewalld, to another host",
			nft: strings.Replace(firewalldShape, "PORTS", "meta nfproto ipv4 tcp dport 443 dnat ip to 10.0.0.5:8443",
				1),
			says: []string{"tcp dport 443 dnat to 10.0.0.5:8443 (firewalld)"}},
		{name: "firewalld, other ports",
			nft: strings.Replace(firewalldShape, "PORTS",
				"tcp dport 444 redirect to :9443; udp dport 443 redirect to :9443", 1)},
		{name: "a redirect", nft: byHand("tcp dport 443 redirect to :8444"),
			says: []string{"table ip mine, chain pre: tcp dport 443 redirect to :8444"}},
		{name: "a set", nft: byHand("tcp dport { 80, 443 } redirect to :8444"),
			says: []string{"tcp dport { 80, 443 } redirect to :8444"}},
		{name: "a set without", nft: byHand("tcp dport { 80, 444-500 } redirect to :8444")},
		{name: "a range", nft: byHand("tcp dport 400-500 dnat to 10.0.0.5"),
			says: []string{"tcp dport 400-500 dnat to 10.0.0.5"}},
		{name: "a range without", nft: byHand("tcp dport 444-500 dnat to 10.0.0.5")},
		{name: "a range excepted", nft: byHand("tcp dport != 22 redirect to :8444"),
			says: []string{"redirect to :8444"}},
		{name: "a map", nft: byHand("meta l4proto tcp dnat to th dport map { 443 : 10.0.0.5 }"),
			says: []string{"tcp dport 443 dnat by a map"}},
		{name: "a map without", nft: byHand("meta l4proto tcp dnat to th dport map { 444 : 10.0.0.5 }")},
		{name: "both protocols", nft: byHand("meta l4proto { tcp, udp } th dport 443 dnat to 10.0.0.5"),
			says: []string{"tcp,udp dport 443 dnat to 10.0.0.5"}},
		{name: "all of an address of ours", nft: byHand("ip daddr 192.0.2.1 dnat to 10.0.0.5"),
			says: []string{"ip daddr 192.0.2.1 dnat to 10.0.0.5"}},
		{name: "all of an address of another", nft: byHand("ip daddr 192.0.2.99 dnat to 10.0.0.5")},
		{name: "of another address", nft: byHand("ip daddr 192.0.2.1 tcp dport 443 dnat to 10.0.0.5"),
			add: "127.0.0.1:443:8443"},
		{name: "of another network card", nft: byHand(`iifname "eth1" tcp dport 443 dnat to 10.0.0.5`),
			add: "443:8443 --interface eth0"},
		{name: "legacy, of its family",
			lines: []string{"ip6tables-legacy -t nat -A PREROUTING -p tcp --dport 443 -j REDIRECT --to-ports 9000"},
			add:   "443:8443 -6",
			says:  []string{"table nat of ip6tables-legacy, chain PREROUTING: tcp dport 443 redirect to :9000"}},
		{name: "legacy, of the other family",
			lines: []string{"ip6tables-legacy -t nat -A PREROUTING -p tcp --dport 443 -j REDIRECT --to-ports 9000"},
			add:   "443:8443 -4"},
		{name: "a comment that looks like it",
			lines: []string{
				"iptables-legacy -t nat -A PREROUTING -p tcp --dport 444 -m comment --comment --dport|443 " +
					"-j REDIRECT --to-ports 9000"}},
		{name: "ip6tables-nft",
			lines: []string{"ip6tables-nft -t nat -A PREROUTING -p tcp --dport 443 -j DNAT --to-destination " +
				"[2001:db8::9]:444"},
			says: []string{"table ip6 nat, chain PREROUTING: tcp dport 443 dnat to [2001:db8::9]:444"}},
		{name: "one that comes first",
			nft: "table ip mine { chain pre { type nat hook prerouting priority -150; tcp dport 443 redirect to " +
				":8444; } }",
			says: []string{"; it comes first, and what it takes does not reach port 8443"},
			id:   finding.ForeignRuleFirst},
		{name: "one of our priority",
			nft: "table ip mine { chain pre { type nat hook prerouting priority -101; tcp dport 443 redirect to " +
				":8444; } }",
			says: []string{"; whether new connections go to port 8443 instead depends on which chain was made first"},
			id:   finding.ForeignRuleTied},
		{name: "notrack",
			nft: "table ip mine { chain pre { type filter hook prerouting priority raw; tcp dport 443 notrack; udp " +
				"dport 53 notrack; } }",
			says: []string{"a rule keeps packets to port 443 out of connection tracking: table ip mine, chain pre: " +
				"tcp dport 443 notrack; they do not reach port 8443"}, id: finding.Untracked},
		{name: "notrack of others",
			nft: "table ip mine { chain pre { type filter hook prerouting priority raw; tcp dport 444 notrack; udp " +
				"dport 443 notrack; } }"},
		{name: "notrack, iptables-nft",
			lines: []string{"iptables-nft -t raw -A PREROUTING -p tcp --dport 443 -j CT --notrack"},
			says:  []string{"table ip raw, chain PREROUTING: tcp dport 443 notrack"}, id: finding.Untracked},
		{name: "notrack, iptables-legacy",
			lines: []string{"iptables-legacy -t raw -A PREROUTING -p tcp --dport 443 -j CT --notrack"},
			says:  []string{"table raw of iptables-legacy, chain PREROUTING: tcp dport 443 notrack"},
			id:    finding.Untracked},
		{name: "CT without notrack",
			lines: []string{"iptables-nft -t raw -A PREROUTING -p tcp --dport 443 -j CT --zone 1"}},
	}
}

func (f foreignRules) seed(t *testing.T, h *lab.Host) {
	t.Helper()
	if f.nft != "" {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(f.nft, "; } }", "; }\n}\n"))
		if r := h.TryCommand(cmd); r.Code != 0 {
			t.Fatalf("%s: %s", f.name, r.Err)
		}
	}
	for _, line := range f.lines {
		words := strings.Fields(line)
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "|", " ")
		}
		h.Run(words[0], words[1:]...)
	}
}

// Rules for the port of a mapping are found, whatever their shape; those for something else are not.
func TestShapes(t *testing.T) {
	for _, shape := range shapes() {
		t.Run(shape.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			host.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
			host.Address("eth0", "192.0.2.1/24")
			shape.seed(t, host)
			line := shape.add
			if line == "" {
				line = "443:8443"
			}
			var found Rules
			var err error
			host.Do(func() { found, err = Look(context.Background(), lab.Mappings(t, line)) })
			if err != nil {
				t.Fatal(err)
			}
			got := Advise(found, Tables)
			if want := min(len(shape.says), 1); len(got) != want {
				t.Fatalf("%d findings, want %d: %q", len(got), want, got)
			}
			want := cmp.Or(shape.id, finding.ForeignRuleShadowed)
			if len(got) > 0 && (got[0].ID != want || !got[0].Mapping.Equal(lab.Mappings(t, line)[0])) {
				t.Errorf("%s of %s, want %s", got[0].ID, got[0].Mapping, want)
			}
			for _, text := range shape.says {
				if !strings.Contains(got[0].Line(), text) {
					t.Errorf("%s\n\twithout %q", got[0].Line(), text)
				}
			}
		})
	}
}

// A rule to which several ways lead is told of once, and is for this host's own connections only if all of them are.
func TestSameRuleByTwoWays(t *testing.T) {
	for _, c := range []struct{ first, second, own bool }{
		{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false},
	} {
		found := Rules{mappings: lab.Mappings(t, "443:8443")}
		for _, own := range []bool{c.first, c.second} {
			m := anyPacket()
			m.ports, m.own = []rules.Ports{{First: 443, Last: 443}}, own
			found.add(Rule{System: IPTables, Table: "ip nat", Chain: "DOCKER",
				rule: rule{match: m, action: translate, to: "dnat"}})
		}
		if len(found.list) != 1 || found.list[0].match.own != c.own {
			t.Errorf("own %t, then %t: %+v", c.first, c.second, found.list)
		}
	}
}

// What a look costs on a host without rules, beside Docker with 300 published ports, and where there are too
// many to be read.
func BenchmarkLook(b *testing.B) {
	for _, ports := range []int{0, 1, 300, 3000} {
		b.Run(fmt.Sprint(ports), func(b *testing.B) {
			host := lab.New(b).Host("host")
			text := "*nat\n-N DOCKER\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n" +
				"-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER\n"
			for i := range ports {
				text += fmt.Sprintf("-A DOCKER -p tcp -m tcp --dport %d -j DNAT --to-destination 172.17.0.2:80\n",
					443+i)
			}
			if ports > 0 {
				cmd := exec.Command("iptables-nft-restore")
				cmd.Stdin = strings.NewReader(text + "COMMIT\n")
				if r := host.TryCommand(cmd); r.Code != 0 {
					b.Fatal(r.Err)
				}
			}
			mappings := lab.Mappings(b, "443:8443")
			host.Do(func() {
				for b.Loop() {
					if _, err := Look(context.Background(), mappings); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
