package nft

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// setContent is a set or map in which a rule looks something up.
type setContent struct {
	name     string // empty for a rule's own set
	keyLen   uint32 // in bytes
	dataLen  uint32 // of a map
	interval bool
	isMap    bool
	elements []element // of a rule's own set
}

// run is what lies between two elements of an interval set, both ends included.
type run struct{ first, last []byte }

// runs returns the runs of an interval set. The kernel has the end of each as the element behind it.
func (s setContent) runs() (runs []run) {
	if !s.interval {
		return nil
	}
	open := false
	for _, e := range s.sorted() {
		switch {
		case !e.end:
			runs, open = append(runs, run{e.key, slices.Repeat([]byte{0xff}, len(e.key))}), true
		case open: // nft begins with the end of a run that nobody began
			runs[len(runs)-1].last, open = predecessor(e.key), false
		}
	}
	return runs
}

// predecessor returns the number before a number.
func predecessor(number []byte) []byte {
	n := slices.Clone(number)
	for i := len(n) - 1; i >= 0; i-- {
		if n[i]--; n[i] != 0xff {
			break
		}
	}
	return n
}

// endsFirst orders the end of a run before the run that begins at the same place.
func endsFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (s setContent) sorted() []element {
	list := slices.Clone(s.elements)
	sort.Slice(list, func(i, k int) bool {
		a, b := list[i], list[k]
		return cmp.Or(bytes.Compare(a.key, b.key), endsFirst(a.end, b.end)) < 0
	})
	return list
}

// String writes the elements in one order.
func (s setContent) String() string {
	if s.name != "" {
		return "@" + s.name
	}
	var parts []string
	for _, r := range s.runs() {
		parts = append(parts, fmt.Sprintf("%x-%x", r.first, r.last))
	}
	if !s.interval {
		for _, e := range s.sorted() {
			parts = append(parts, fmt.Sprintf("%x:%x", e.key, e.data))
		}
	}
	return "{" + strings.Join(parts, " ") + "}"
}
