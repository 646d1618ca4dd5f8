package rules

import "slices"

// overlapping leaves out each mapping that claims a packet of one before it that stays. The first checked of them are known
// to go together. Of those that are there twice the first counts.
func (f *fitting) overlapping(checked int) error {
	const few = 16
	switch {
	case len(f.mappings)-checked <= few:
		return f.compare(checked)
	case !portsOverlap(f.mappings):
		return nil
	}
	return f.sift()
}

// compare looks at each pair: what is quickest for a few new mappings, and the definition that sift has to agree with.
func (f *fitting) compare(checked int) error {
	for at := checked; at < len(f.mappings); at++ {
		for old := 0; old < at && f.stays(at); old++ {
			if err := f.step(); err != nil {
				return err
			}
			if f.stays(old) && overlap(&f.mappings[old], &f.mappings[at]) {
				f.meets(old, at)
			}
		}
	}
	return nil
}

// meets notes that two mappings claim the same packet.
func (f *fitting) meets(old, at int) {
	a, b := &f.mappings[old], &f.mappings[at]
	if a.text == b.text {
		f.repeat(old, at)
	} else {
		f.leave(at, &ConflictError{Mapping: *b, With: *a, Over: clash(*a, *b)})
	}
}

// portsOverlap reports whether two mappings of one protocol share a listen port. Of most sets none do, which the ports alone
// tell: 60,000 mappings take a millisecond.
func portsOverlap(mappings []Mapping) bool {
	var lastTCP, lastUDP uint16
	for _, at := range byFirstPort(mappings) {
		m := &mappings[at]
		tcp, udp := m.protocols.Has(TCP), m.protocols.Has(UDP)
		if tcp && m.ports.First <= lastTCP || udp && m.ports.First <= lastUDP {
			return true
		}
		if tcp {
			lastTCP = m.ports.Last
		}
		if udp {
			lastUDP = m.ports.Last
		}
	}
	return false
}

// names leaves out each mapping whose name is that of another one before it.
func (f *fitting) names() {
	named := map[string]int{}
	for i := range f.mappings {
		m := &f.mappings[i]
		if m.name == "" {
			continue
		}
		first, taken := named[m.name]
		switch {
		case !taken:
			named[m.name] = i
		case !f.mappings[first].Equal(*m):
			f.leave(i, &ConflictError{Mapping: *m, With: f.mappings[first], Over: "the name " + m.name, Name: true})
		}
	}
}

// byFirstPort returns the places of the mappings sorted by their first listen port, equal ones in their order.
func byFirstPort(mappings []Mapping) []int32 {
	sorted := make([]int32, len(mappings))
	if len(mappings) < 1<<12 {
		for i := range sorted {
			sorted[i] = int32(i)
		}
		slices.SortStableFunc(sorted, func(a, b int32) int { return int(mappings[a].ports.First) - int(mappings[b].ports.First) })
		return sorted
	}
	next := make([]int32, 1<<16+1) // a counting sort: ports are few
	for i := range mappings {
		next[int(mappings[i].ports.First)+1]++
	}
	for p := 1; p < len(next); p++ {
		next[p] += next[p-1]
	}
	for i := range mappings {
		p := mappings[i].ports.First
		sorted[next[p]] = int32(i)
		next[p]++
	}
	return sorted
}
