package facts

import (
	"sort"

	"portmap/rules"
)

// Join returns the same ports in as few ranges as possible, sorted. It changes the list.
func Join(list []rules.Ports) []rules.Ports {
	sort.Slice(list, func(i, k int) bool { return list[i].First < list[k].First })
	joined := list[:0]
	for _, p := range list {
		if last := len(joined) - 1; last >= 0 && int(p.First) <= int(joined[last].Last)+1 {
			joined[last].Last = max(joined[last].Last, p.Last)
		} else {
			joined = append(joined, p)
		}
	}
	return joined
}
