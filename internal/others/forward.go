package others

import (
	"fmt"

	"portmap/internal/finding"
	"portmap/rules"
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
			c := d.cure([]rules.Mapping{m}, families)
			advice = append(advice, finding.Finding{
				ID: finding.ForwardDropped, Mapping: m,
				Text: fmt.Sprintf("table %s, chain %s drops what it does not know, and so connections of %s",
					d.Table, rules.Printable(d.Chain), m.Spec()),
				Remedy: c.Remedy, Undo: c.Undo,
			})
		}
	}
	return advice
}
