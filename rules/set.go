package rules

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Set is a list of mappings of which no two claim the same packet, no two have the same name and none leads back to
// itself. The zero Set is empty. A Set does not change: its methods return another.
type Set struct{ mappings []Mapping }

// NewSet checks mappings against each other and keeps their order. A mapping that is there twice is there once. The error
// is that of [Set.Add].
func NewSet(mappings ...Mapping) (Set, error) { return Set{}.Add(mappings...) }

// Len returns the number of mappings.
func (s Set) Len() int { return len(s.mappings) }

// Mappings returns the mappings in their order.
func (s Set) Mappings() []Mapping { return slices.Clone(s.mappings) }

// Has reports whether the very same mapping is in the Set.
func (s Set) Has(m Mapping) bool {
	return slices.ContainsFunc(s.mappings, m.Equal)
}

// Add returns the Set with more mappings behind its own. Those that it has already are passed over. The error is a
// [*ConflictError], a [*LoopError], or an [*InvalidError] where there are too many; in a conflict, With is a mapping that came
// before. The slice belongs to the Set from then on.
func (s Set) Add(more ...Mapping) (Set, error) {
	all := more
	if len(s.mappings) > 0 {
		all = slices.Concat(s.mappings, more)
	}
	f := fitting{ctx: context.Background(), mappings: all}
	set, err := f.run(len(s.mappings))
	if err == nil && len(f.out) > 0 {
		err = f.err()
	}
	return set, err
}

// Replace returns the Set with more mappings, each in the place of those that were in its way, and those, in the order of
// more. The error is a [*ConflictError] within more, or a [*LoopError].
func (s Set) Replace(more ...Mapping) (Set, [][]Mapping, error) {
	replaced := make([][]Mapping, len(more))
	gone := map[int]bool{}
	for i, m := range more {
		for at, old := range s.mappings {
			if !gone[at] && !old.Equal(m) && clash(old, m) != "" {
				gone[at] = true
				replaced[i] = append(replaced[i], old)
			}
		}
	}
	kept := Set{without(s.mappings, gone)}
	set, err := kept.Add(more...)
	return set, replaced, err
}

// Remove returns the Set without the mappings given.
func (s Set) Remove(mappings ...Mapping) Set {
	gone := make(map[string]bool, len(mappings))
	for _, m := range mappings {
		gone[m.text] = true
	}
	kept := make([]Mapping, 0, len(s.mappings))
	for _, m := range s.mappings {
		if !gone[m.text] {
			kept = append(kept, m)
		}
	}
	return Set{kept}
}

// Diff returns the change that leads from s to next.
func (s Set) Diff(next Set) Change {
	return Change{Remove: Minus(s.mappings, next.mappings), Add: Minus(next.mappings, s.mappings)}
}

// Minus returns the mappings of a that are not in b.
func Minus(a, b []Mapping) []Mapping {
	if len(a) == 0 || len(b) == 0 {
		return slices.Clone(a)
	}
	in := make(map[string]bool, len(b))
	for _, m := range b {
		in[m.text] = true
	}
	var rest []Mapping
	for _, m := range a {
		if !in[m.text] {
			rest = append(rest, m)
		}
	}
	return rest
}

func without(mappings []Mapping, gone map[int]bool) []Mapping {
	kept := make([]Mapping, 0, len(mappings))
	for i, m := range mappings {
		if !gone[i] {
			kept = append(kept, m)
		}
	}
	return kept
}

// Find returns the mappings that a person can mean by text: a name, a listen side ("443", "443/tcp", "192.0.2.7:443"),
// or a mapping with or without its options. More than one means that text is ambiguous.
func (s Set) Find(text string, services Services) []Mapping {
	parser := Parser{Services: services}
	listen := parser.listenSide(text)
	whole, err := parser.Parse(Words(text))
	options := strings.ContainsAny(text, " \t")
	var found []Mapping
	for _, m := range s.mappings {
		switch {
		case m.name != "" && m.name == text,
			listen != nil && listen(m),
			err == nil && options && m.text == whole.text,
			err == nil && !options && m.Spec() == whole.Spec():
			found = append(found, m)
		}
	}
	return found
}

// listenSide reads [LISTEN_ADDR:]PORTS[/PROTO[,PROTO]]; without an address or a protocol it means any. It returns nil where
// text is none.
func (p *Parser) listenSide(text string) func(Mapping) bool {
	sides, protocols, err := cutProtocols(text)
	if err != nil {
		return nil
	}
	addr, rest, err := cutAddr(sides)
	if err != nil || strings.ContainsRune(rest, ':') {
		return nil
	}
	ports, err := parsePorts(rest, protocols, p.Services)
	if err != nil {
		return nil
	}
	anyProtocol := !strings.ContainsRune(text, '/')
	return func(m Mapping) bool {
		return m.ports == ports && (anyProtocol || m.protocols == protocols) && (!addr.IsValid() || m.extra().listen == addr)
	}
}

// Covering returns the mappings whose listen ports hold port: what a person may have meant who named one port of a range.
func (s Set) Covering(port uint16) []Mapping {
	var found []Mapping
	for _, m := range s.mappings {
		if m.ports.Contains(port) {
			found = append(found, m)
		}
	}
	return found
}

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

// SharesClients reports whether a client can use both mappings at one address: whether there would be a packet that
// both claim if they had the same listen ports.
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
