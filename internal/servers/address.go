package servers

import (
	"fmt"
	"net/netip"
	"slices"

	"portmap/internal/finding"
	"portmap/rules"
)

// LeavesOut tells of a server that listens at some addresses of an interface, and not at others, to which clients of
// the mapping may come, too. What other interfaces have, such as those of containers, is often meant for others.
func (f *Found) LeavesOut(m rules.Mapping) (advice []finding.Finding) {
	places := f.Places(m)
	for _, family := range m.Families().Each() {
		served := slices.IndexFunc(places, func(p Place) bool {
			return rules.FamilyOf(p.Address) == family && len(p.Servers) > 0
		})
		if served < 0 {
			continue
		}
		with := places[served]
		var without []netip.Addr
		for _, p := range places {
			if p.Interface == with.Interface && rules.FamilyOf(p.Address) == family &&
				len(p.Servers)+len(p.Remote) == 0 {
				without = append(without, p.Address)
			}
		}
		if len(without) > 0 {
			advice = append(advice, finding.Finding{ID: finding.ServerAddress, Mapping: m,
				Text: fmt.Sprintf("%s listens at %s, and not at %s: clients who come there are refused",
					with.Servers[0].Who(), with.Servers[0].Address, few(without))})
		}
	}
	return advice
}
