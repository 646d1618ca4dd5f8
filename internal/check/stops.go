package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"portmap/internal/others"
	"portmap/internal/probe"
	"portmap/internal/trace"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// stop is the rule or the policy that ended a packet.
type stop struct {
	system  others.System
	family  byte   // of the table: unix.NFPROTO_IPV4 and so on
	table   string // its name alone
	chain   string
	handle  uint64 // of nf_tables
	number  int    // its place in the chain, from 1 on; 0 for a policy
	program string // that changes it, of both systems of iptables
	text    string // the rule, as its tool lists it
	tool    string // whose it is; "" where that is not known
	rejects bool
	answer  bool   // it stopped an answer of this host
	at      uint16 // the destination port that the packet had there
}

// stopOf returns what dropped a packet, as nf_tables reports it.
func (t *Texts) stopOf(ctx context.Context, p *trace.Packet) (s stop, found bool) {
	if p == nil || !p.Dropped() {
		return s, false
	}
	return t.stopAt(ctx, p, len(p.Hops)-1), true
}

// stopAt returns one of the hops of a packet.
func (t *Texts) stopAt(ctx context.Context, p *trace.Packet, number int) stop {
	hop := &p.Hops[number]
	s := stop{family: hop.Family, table: hop.Table, chain: hop.Chain, handle: hop.Handle, at: hop.To.Port()}
	s.system, s.program = systemOf(p, hop)
	comment := ""
	if !hop.Policy {
		rule, err := t.rule(ctx, p, hop)
		if err != nil {
			return s // it is gone already: where it was is known
		}
		s.text, s.number, s.rejects, comment = rule.Text, rule.Number, rule.Rejects, rule.Comment
	}
	if s.tool = others.ToolOf(s.table, s.chain, comment); s.tool == "" && hop.Policy {
		s.tool = policyOf(p, hop)
	}
	if s.own() {
		s.tool = "portmap"
	}
	return s
}

// policyOf returns whose a chain's policy is: that of a tool that sets it, and to whose chains the packet was led.
func policyOf(p *trace.Packet, hop *trace.Hop) string {
	for _, h := range p.Hops {
		if h.Family != hop.Family || h.Table != hop.Table {
			continue
		}
		for _, chain := range [...]string{h.Chain, h.Jump} { // in a chain that is led to, no rule need have matched
			tool := others.ToolOf(h.Table, chain, "")
			if tool == "ufw" || tool == "Docker" && hop.Chain == "FORWARD" {
				return tool
			}
		}
	}
	return ""
}

// systemOf tells the tables of iptables-nft from others, and returns the program that changes them.
func systemOf(p *trace.Packet, hop *trace.Hop) (others.System, string) {
	program := map[byte]string{unix.NFPROTO_IPV4: "iptables", unix.NFPROTO_IPV6: "ip6tables"}[hop.Family]
	if program == "" || !slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, hop.Table) {
		return others.Tables, ""
	}
	for _, h := range p.Hops {
		same := h.Family == hop.Family && h.Table == hop.Table
		if same && slices.Contains([]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}, h.Chain) {
			return others.IPTables, others.Variant(program)
		}
	}
	return others.Tables, ""
}

// legacyStop returns what stopped a packet by the counters of iptables-legacy. One that passed all rules was stopped by
// none, and one that was refused by none that drops.
func legacyStop(seen counters, w *Way) (s stop, found bool) {
	if w.answer.Outcome == probe.Answered || w.out != nil && w.out.Arrived.IsValid() {
		return s, false
	}
	for _, s := range legacyStops(seen, w.Family()) {
		if w.answer.Outcome != probe.Refused || s.rejects {
			return s, true
		}
	}
	return s, false
}

// legacyStops returns what iptables-legacy counted. Packets of others may be among them.
func legacyStops(seen counters, family rules.Families) (list []stop) {
	for _, r := range seen.legacy {
		s := stop{system: others.Legacy, family: unix.NFPROTO_IPV4, table: r.table, chain: r.chain, number: r.number,
			program: r.program, text: r.text, tool: others.ToolOf(r.table, r.chain, ""),
			rejects: strings.Contains(r.text, "-j REJECT"), answer: r.chain == "OUTPUT"}
		if strings.HasPrefix(r.program, "ip6") {
			s.family = unix.NFPROTO_IPV6
		}
		if (s.family == unix.NFPROTO_IPV4) == (family == rules.IPv4) {
			list = append(list, s)
		}
	}
	return list
}

// own reports whether the table is portmap's.
func (s stop) own() bool {
	return s.system == others.Tables && s.family == unix.NFPROTO_INET && s.table == "portmap"
}

// where names the chain: "table inet filter, chain input" or "chain INPUT of iptables".
func (s stop) where() string {
	chain := "chain " + rules.Printable(s.chain)
	switch s.system {
	case others.Tables:
		return fmt.Sprintf("table %s, %s", s.fullTable(), chain)
	case others.Legacy:
		return fmt.Sprintf("table %s of iptables-legacy, %s", s.table, chain)
	}
	return fmt.Sprintf("table %s of iptables, %s", s.table, chain)
}

func (s stop) fullTable() string {
	family := map[byte]string{unix.NFPROTO_IPV4: "ip ", unix.NFPROTO_IPV6: "ip6 ", unix.NFPROTO_INET: "inet ",
		unix.NFPROTO_BRIDGE: "bridge ", unix.NFPROTO_NETDEV: "netdev "}[s.family]
	return family + rules.Printable(s.table)
}

// policy reports whether no rule ended the packet, but the end of a chain.
func (s stop) policy() bool { return s.number == 0 && s.handle == 0 }

// String names the rule, where it is, and whose it is.
func (s stop) String() string {
	what := s.text
	if s.policy() {
		what = "policy drop"
	}
	whose := s.tool
	if whose == "" {
		whose = "by hand"
	}
	return fmt.Sprintf("%s, in %s (%s)", rules.Printable(what), s.where(), whose)
}
