package rules

import (
	"fmt"
	"net/netip"
)

// clash says what two different mappings both claim, or "" where they can stand beside each other.
func clash(a, b Mapping) string {
	if a.name != "" && a.name == b.name {
		return "the name " + a.name
	}
	if !overlap(&a, &b) {
		return ""
	}
	ports := Ports{max(a.ports.First, b.ports.First), min(a.ports.Last, b.ports.Last)}
	return fmt.Sprintf("%s/%s", ports, a.protocols&b.protocols)
}

// overlap reports whether there can be a packet that both mappings claim.
func overlap(a, b *Mapping) bool {
	return a.ports.Overlaps(b.ports) && sharesClients(a, b)
}

// SharesClients reports whether both claim a packet if their ports do not count.
func (m Mapping) SharesClients(o Mapping) bool { return sharesClients(&m, &o) }

func sharesClients(a, b *Mapping) bool {
	return a.protocols&b.protocols != 0 && a.families&b.families != 0 && extrasOverlap(a.extras, b.extras)
}

func extrasOverlap(a, b *extras) bool {
	if a == nil || b == nil {
		return true
	}
	return (a.listen == b.listen || !a.listen.IsValid() || !b.listen.IsValid()) &&
		(a.iface == b.iface || a.iface == "" || b.iface == "") && sourcesOverlap(a.sources, b.sources)
}

func sourcesOverlap(a, b []netip.Prefix) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for len(a) > 0 && len(b) > 0 { // both are sorted, and in neither is one inside another
		switch {
		case a[0].Overlaps(b[0]):
			return true
		case comparePrefixes(a[0], b[0]) < 0:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}
