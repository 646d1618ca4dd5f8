package others

import (
	"fmt"

	"portmap/rules"
)

// Advise says, in a line for each mapping that was asked about, which rules of others meet its packets, and who
// gets them. System is where portmap's own rules are.
func Advise(found Rules, system System) (lines []string) {
	for _, m := range found.mappings {
		var translates, untracks []Met
		for _, met := range found.Meet(m) {
			if met.Untracks {
				untracks = append(untracks, met)
			} else {
				translates = append(translates, met)
			}
		}
		if len(translates) > 0 {
			first := translates[0]
			lines = append(lines, fmt.Sprintf("warning: another rule translates port %d already: %s; %s",
				first.Port, first.where(len(translates)-1), first.winner(m, system)))
		}
		if len(untracks) > 0 {
			first := untracks[0]
			lines = append(lines, fmt.Sprintf(
				"warning: a rule keeps packets to port %d out of connection tracking: %s; they do not reach port %d",
				first.Port, first.where(len(untracks)-1), m.TargetOf(first.Port)))
		}
	}
	return lines
}

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

// Priorities of portmap's chains: in a table of its own one before all at dstnat, in iptables those of
// iptables, where its jump comes first.
const (
	priorityOfTable    = -101
	priorityOfIPTables = -100
)

// winner says whose packets they are: a packet that one rule has translated is not translated again (nf_nat_core.c,
// nf_nat_setup_info).
func (m Met) winner(mapping rules.Mapping, system System) string {
	target := mapping.TargetOf(m.Port)
	ours := priorityOfTable
	if system != Tables {
		ours = priorityOfIPTables
	}
	switch {
	case m.Priority < ours:
		return fmt.Sprintf("it comes first, and what it takes does not reach port %d", target)
	case m.Priority == ours && (system == Tables || m.System != system):
		return fmt.Sprintf("whether new connections go to port %d instead depends on which chain was made first",
			target)
	case mapping.Restricted():
		return fmt.Sprintf("new connections that the mapping is for go to port %d instead", target)
	}
	return fmt.Sprintf("new connections go to port %d instead", target)
}
