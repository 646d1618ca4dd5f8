package rules

import (
	"fmt"
	"slices"
)

// ConflictError says that a mapping cannot stand beside one that is there.
type ConflictError struct {
	Mapping Mapping // the new one
	With    Mapping // the one in the way
	Over    string  // what both claim: "443/tcp", or a name
	Name    bool    // it is a name
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: %s is already taken by %s", e.Mapping, e.Over, e.With)
}

// compare compares each pair. It is the quickest way for a few new mappings, and the definition that search must agree
// with.
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

// portsOverlap reports whether two mappings of one protocol share a listen port. Of most sets none do, which the ports
// alone tell: 60,000 mappings take a millisecond.
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

// byFirstPort returns the places of the mappings sorted by their first listen port, equal ones in their order.
func byFirstPort(mappings []Mapping) []int32 {
	sorted := make([]int32, len(mappings))
	if len(mappings) < 1<<12 {
		for i := range sorted {
			sorted[i] = int32(i)
		}
		slices.SortStableFunc(sorted, func(a, b int32) int {
			return int(mappings[a].ports.First) - int(mappings[b].ports.First)
		})
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
