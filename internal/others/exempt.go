package others

import (
	"slices"
	"strings"

	"portmap/internal/pinhole"
	"portmap/rules"
	"portmap/rules/facts"
)

// exempt keeps the packets of a mapping away from rules by hand: a rule before each accepts them, which ends the way
// through that chain alone. It returns no commands where a rule is a tool's, which would put it back, for the nat
// tables of iptables, where portmap's own rules may stand behind it, nor where the chain may drop some of these
// packets, which would come in.
func (r *Rules) exempt(m rules.Mapping, list []Met) (c pinhole.Commands) {
	if facts.Restricted(&m) || r.left {
		return c
	}
	for _, met := range list {
		drops := slices.ContainsFunc(*met.drops, func(d match) bool {
			d.unread = false
			_, meets := d.meets(&m, r.isOwn)
			return meets
		})
		if met.Tool != "" || met.System != Tables && !met.Untracks || drops {
			return pinhole.Commands{}
		}
		for _, family := range (met.match.families & m.Families()).Each() {
			for _, protocol := range (met.match.protocols & m.Protocols()).Each() {
				c.Let(pinhole.Connections{Mappings: []rules.Mapping{m}, Family: family, Protocol: protocol,
					Early: true}, met.place(family))
			}
		}
	}
	return c
}

// place is where a rule stands. In iptables a new one comes before all others of the chain, since only its number would
// tell, which changes with each other rule.
func (r Rule) place(family rules.Families) pinhole.Place {
	if r.System == Tables {
		return pinhole.Place{Program: "nft", Table: r.Table, Chain: r.Chain, Before: r.number}
	}
	_, table, _ := strings.Cut(r.Table, " ") // "ip raw"
	if r.System == Legacy {
		table, _, _ = strings.Cut(r.Table, " ") // "raw of iptables-legacy"
	}
	return pinhole.Place{Program: r.System.program(family), Table: table, Chain: r.Chain}
}
