package others

import (
	"fmt"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/pinhole"
	"portmap/rules"
	"portmap/rules/facts"
)

// Dropped says, once for each firewall, that its policy keeps other hosts from servers of this host, and which rule
// lets in what is mapped and nothing else. A firewall with other means than a policy is not looked at.
func Dropped(found Rules) (advice []finding.Finding) {
	var told []string
	for i := range found.drops {
		d := &found.drops[i]
		if name := d.firewall(); !d.forward && !slices.Contains(told, name) {
			told = append(told, name)
			advice = append(advice, found.dropped(name)...)
		}
	}
	return advice
}

// firewall names whose chain it is. iptables has a chain for each family.
func (d *Drop) firewall() string {
	switch {
	case d.ufw:
		return "ufw"
	case d.System == Tables:
		return fmt.Sprintf("table %s, chain %s,", d.Table, rules.Printable(d.Chain))
	case d.System == Legacy:
		return "chain INPUT of iptables-legacy"
	}
	return "chain INPUT of iptables"
}

func (r *Rules) dropped(firewall string) []finding.Finding {
	var stopped []rules.Mapping
	var drop *Drop
	families := rules.Families(0)
	for _, m := range r.mappings {
		lost := rules.Families(0)
		for i := range r.drops {
			if d := &r.drops[i]; !d.forward && d.firewall() == firewall {
				if f := d.stops(m); f != 0 {
					lost, drop = lost|f, d
				}
			}
		}
		if lost != 0 {
			stopped, families = append(stopped, m), families|lost
		}
	}
	if len(stopped) == 0 {
		return nil
	}
	first := stopped[0]
	whom := first.Spec()
	if families != first.Families() {
		whom += " over " + families.String()
	}
	if more := len(stopped) - 1; more > 0 {
		whom += fmt.Sprintf(" (and %d more)", more)
	}
	c := drop.cure(stopped, families)
	return []finding.Finding{{
		ID: finding.FirewallDrops, Mapping: first, Remedy: c.Remedy, Undo: c.Undo,
		Text: fmt.Sprintf("%s drops what none of its rules accepts, and none accepts port %s: other hosts do not "+
			"reach %s", firewall, portsText(first), whom),
	}}
}

// cure lets connections of mappings pass the chain.
func (d *Drop) cure(mappings []rules.Mapping, families rules.Families) (c pinhole.Commands) {
	for _, family := range families.Each() {
		at := pinhole.Place{Program: d.System.program(family), Table: "filter", Chain: d.Chain}
		switch {
		case d.ufw:
			at.Program = "ufw"
		case d.System == Tables:
			at.Program, at.Table = "nft", d.Table
		}
		for _, protocol := range [...]rules.Protocols{rules.TCP, rules.UDP} {
			c.Let(pinhole.Connections{Mappings: mappings, Family: family, Protocol: protocol}, at)
		}
	}
	return c
}

// portsText lists the target ports of a mapping to this host: "8443, 9443".
func portsText(m rules.Mapping) string {
	var texts []string
	for _, ports := range facts.LocalTargets(&m) {
		texts = append(texts, ports.String())
	}
	return strings.Join(texts, ", ")
}
