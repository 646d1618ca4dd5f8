package rules

import "slices"

// conflicts looks for two mappings that claim the same packet or have the same name. The first checked of them are known to go
// together. It returns the places of mappings that repeat an earlier one.
func conflicts(mappings []Mapping, checked int) (repeated map[int]bool, err error) {
	if err := sameNames(mappings); err != nil {
		return nil, err
	}
	c := collision{mappings: mappings}
	const few = 16
	if len(mappings)-checked <= few {
		for at := checked; at < len(mappings); at++ {
			for old := range at {
				c.look(old, at)
			}
		}
	} else {
		c.sweep()
	}
	return c.repeated, c.err
}

// collision is what was found so far.
type collision struct {
	mappings []Mapping
	repeated map[int]bool
	err      error
}

// look compares two mappings. Of several conflicts the first in the list counts.
func (c *collision) look(a, b int) {
	old, m := &c.mappings[a], &c.mappings[b]
	if !overlap(old, m) {
		return
	}
	if old.text == m.text {
		if c.repeated == nil {
			c.repeated = map[int]bool{}
		}
		c.repeated[b] = true
		return
	}
	if c.err == nil {
		c.err = &ConflictError{Mapping: *m, With: *old, Over: clash(*old, *m)}
	}
}

// sweep goes over the ports from low to high and compares each mapping with those that reach as far: 60,000 mappings of a
// port each take milliseconds.
func (c *collision) sweep() {
	var open []int32
	for _, at := range byFirstPort(c.mappings) {
		first := c.mappings[at].ports.First
		open = slices.DeleteFunc(open, func(o int32) bool { return c.mappings[o].ports.Last < first })
		for _, o := range open {
			c.look(int(min(o, at)), int(max(o, at)))
		}
		open = append(open, at)
	}
}

func sameNames(mappings []Mapping) error {
	named := map[string]int{}
	for i := range mappings {
		m := &mappings[i]
		if m.name == "" {
			continue
		}
		if first, taken := named[m.name]; taken && !mappings[first].Equal(*m) {
			return &ConflictError{Mapping: *m, With: mappings[first], Over: "the name " + m.name, Name: true}
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
