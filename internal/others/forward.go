package others

import (
	"fmt"
	"net/netip"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"
)

// Forwarded tells of the chains whose policy drops connections of mappings to other hosts, as Docker sets it: one
// finding for each mapping and chain, with the rules that let these connections pass, and no others.
func Forwarded(found Rules) (advice []finding.Finding) {
	for _, m := range found.mappings {
		for i := range found.drops {
			d := &found.drops[i]
			families := d.stops(m)
			if !d.forward || families == 0 {
				continue
			}
			advice = append(advice, finding.Finding{
				ID: finding.ForwardDropped, Mapping: m,
				Text: fmt.Sprintf("table %s, chain %s drops what it does not know, and so connections of %s",
					d.Table, rules.Printable(d.Chain), m.Spec()),
				Remedy: strings.Join(d.pass(&m, families), " && "),
			})
		}
	}
	return advice
}

// pass returns the commands that let the connections of a mapping pass, in both directions: connection tracking knows
// the port that the client used, and who answers.
func (d *Drop) pass(m *rules.Mapping, families rules.Families) (commands []string) {
	for _, family := range families.Each() {
		for _, t := range facts.TargetsIn(m, family) {
			for _, protocol := range m.Protocols().Each() {
				if d.System != Tables {
					commands = append(commands, fmt.Sprintf("sudo %s -I %s -p %s -m conntrack --ctstate DNAT "+
						"--ctorigdstport %s --ctreplsrc %s --ctreplsrcport %s -j ACCEPT", d.program(family), d.Chain,
						protocol, colon(m.ListenPorts()), t.Addr, colon(t.Ports)))
				} else {
					commands = append(commands, fmt.Sprintf("sudo nft insert rule %s %s meta l4proto %s "+
						"ct status dnat ct original proto-dst %s ct reply %s saddr %s ct reply proto-src %s accept",
						d.Table, d.Chain, protocol, m.ListenPorts(), ipWord(t.Addr), t.Addr, t.Ports))
				}
			}
		}
	}
	return commands
}

func colon(p rules.Ports) string { return strings.Replace(p.String(), "-", ":", 1) }

func ipWord(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}
