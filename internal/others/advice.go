package others

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"
)

// Advise says, for each mapping that was asked about, which rules of others meet its packets, and who gets them.
// System is where portmap's own rules are.
func Advise(found Rules, system System) (advice []finding.Finding) {
	for _, m := range found.mappings {
		var translates, untracks []Met
		for _, met := range found.Meet(m) {
			switch {
			case met.Untracks:
				untracks = append(untracks, met)
			case found.strict && met.Tool == "firewalld" && met.like(&m): // by it firewalld lets the mapping in
			default:
				translates = append(translates, met)
			}
		}
		if len(translates) > 0 {
			first := translates[0]
			id, winner := first.winner(m, system)
			f := finding.Finding{
				ID: id, Mapping: m,
				Text: fmt.Sprintf("another rule translates port %d already: %s; %s",
					first.Port, first.where(len(translates)-1), winner),
			}
			if id == finding.ForeignRuleFirst {
				c := found.exempt(m, slices.DeleteFunc(translates, func(met Met) bool {
					id, _ := met.winner(m, system)
					return id != finding.ForeignRuleFirst
				}))
				f.Remedy, f.Undo = c.Remedy, c.Undo
			}
			advice = append(advice, f)
		}
		if len(untracks) > 0 {
			advice = append(advice, found.untracked(m, untracks))
		}
	}
	return advice
}

func (r *Rules) untracked(m rules.Mapping, untracks []Met) finding.Finding {
	first, c := untracks[0], r.exempt(m, untracks)
	return finding.Finding{
		ID: finding.Untracked, Mapping: m, Remedy: c.Remedy, Undo: c.Undo,
		Text: fmt.Sprintf("a rule keeps packets to port %d out of connection tracking: %s; they do not reach %s",
			first.Port, first.where(len(untracks)-1), server(m, first.Port)),
	}
}

// like reports whether a rule leads to a target of a mapping.
func (r Rule) like(m *rules.Mapping) bool {
	return slices.ContainsFunc(facts.TargetsIn(m, r.match.families), func(t rules.Target) bool {
		if !t.Remote() {
			t.Addr = netip.Addr{}
		}
		return strings.HasSuffix(r.to, destinationText(t.Addr, t.Ports))
	})
}

// Where names a rule: its table, its chain, what it says, and whose it is.
func (r Rule) Where() string { return r.where(0) }

// where names a rule: its table, its chain, what it says, whose it is, and that there are more.
func (r Rule) where(more int) string {
	text := fmt.Sprintf("table %s, chain %s: %s", r.Table, rules.Printable(r.Chain), r.Text())
	if r.Tool != "" {
		text += " (" + r.Tool + ")"
	}
	if more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// server says where a mapping takes the clients of a port.
func server(m rules.Mapping, listen uint16) string {
	if port, here := m.TargetOf(listen); here {
		return fmt.Sprintf("port %d", port)
	}
	if len(m.Targets()) > 1 {
		return "its targets"
	}
	return "its target"
}

// Priorities of portmap's chains: in a table of its own one before all at dstnat, in iptables those of
// iptables, where its jump comes first.
const (
	priorityOfTable    = -101
	priorityOfIPTables = -100
)

// winner says whose packets they are: a packet that one rule has translated is not translated again (nf_nat_core.c,
// nf_nat_setup_info).
func (m Met) winner(mapping rules.Mapping, system System) (id finding.ID, text string) {
	target := server(mapping, m.Port)
	ours := priorityOfTable
	if system != Tables {
		ours = priorityOfIPTables
	}
	switch {
	case m.Priority < ours:
		return finding.ForeignRuleFirst, fmt.Sprintf("it comes first, and what it takes does not reach %s", target)
	case m.Priority == ours && (system == Tables || m.System != system):
		return finding.ForeignRuleTied,
			fmt.Sprintf("whether new connections go to %s instead depends on which chain was made first", target)
	case facts.Restricted(&mapping):
		return finding.ForeignRuleShadowed,
			fmt.Sprintf("new connections that the mapping is for go to %s instead", target)
	}
	return finding.ForeignRuleShadowed, fmt.Sprintf("new connections go to %s instead", target)
}
