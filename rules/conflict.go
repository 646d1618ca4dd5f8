package rules

import "slices"

// conflicts looks for two mappings that claim the same packet or have the same name. It returns the places of mappings
// that repeat an earlier one. It sweeps over the ports, so that 60,000 mappings of a port each take milliseconds.
func conflicts(mappings []Mapping) (repeated map[int]bool, err error) {
	if err := sameNames(mappings); err != nil {
		return nil, err
	}
	var open []int32 // mappings that reach up to the port the sweep is at
	for _, at := range byFirstPort(mappings) {
		m := &mappings[at]
		open = slices.DeleteFunc(open, func(o int32) bool { return mappings[o].ports.Last < m.ports.First })
		for _, o := range open {
			old := &mappings[o]
			if !overlap(old, m) {
				continue
			}
			if old.text != m.text {
				first, second := min(o, at), max(o, at)
				return nil, &ConflictError{Mapping: mappings[second], With: mappings[first], Over: clash(mappings[first], mappings[second])}
			}
			if repeated == nil {
				repeated = map[int]bool{}
			}
			repeated[int(max(o, at))] = true
		}
		open = append(open, at)
	}
	return repeated, nil
}

func sameNames(mappings []Mapping) error {
	named := map[string]int{}
	for i := range mappings {
		m := &mappings[i]
		if m.name == "" {
			continue
		}
		if first, taken := named[m.name]; taken && !mappings[first].Equal(*m) {
			return &ConflictError{Mapping: *m, With: mappings[first], Over: "the name " + m.name}
		}
		named[m.name] = i
	}
	return nil
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
