package reconcile

import (
	"context"

	"portmap/rules"
)

// lookFor finds the mappings of the file that selectors mean, and the temporary ones, in the kernel, without reading
// what else it holds. It returns false where that has to be read: without selectors, if one means none of these, if
// not all are live, since others may be in their place, or if the packet filter cannot do it.
func (h *Host) lookFor(ctx context.Context, saved rules.Set, selectors []string) (rules.Set, kernel, bool, error) {
	filter, can := h.filter.Backend.(rules.Looker)
	if len(selectors) == 0 || !can || h.moves() {
		return saved, kernel{}, false, nil
	}
	temporary, err := h.filter.Temporary(ctx)
	if err != nil {
		return saved, kernel{}, false, err
	}
	live := unite(rules.Set{}, temporary)
	var wanted, inFile []rules.Mapping
	for _, s := range selectors {
		own, other := saved.Find(s, h.Services), live.Find(s, h.Services)
		if len(own)+len(other) == 0 {
			return saved, kernel{}, false, nil
		}
		inFile = append(inFile, own...)
		wanted = append(append(wanted, own...), other...)
	}
	wanted = unite(rules.Set{}, wanted).Mappings() // two selectors can mean the same one
	found, tells, err := filter.LookFor(ctx, wanted)
	if err != nil || !tells || len(found.Mappings) < len(wanted) {
		return saved, kernel{}, false, err
	}
	return unite(rules.Set{}, inFile), kernel{found, []rules.Live{found}}, true, nil
}

// selected returns the rows that one of the selectors means; all without selectors.
func (h *Host) selected(rows []Row, selectors []string) (list []Row, err error) {
	if len(selectors) == 0 {
		return rows, nil
	}
	used := make([]bool, len(selectors))
	for _, row := range rows {
		one, err := rules.NewSet(row.Mapping)
		chosen := false
		for i, selector := range selectors {
			if err == nil && len(one.Find(selector, h.Services)) > 0 {
				chosen, used[i] = true, true
			}
		}
		if chosen {
			list = append(list, row)
		}
	}
	for i, is := range used {
		if !is {
			return nil, &SelectError{Selector: selectors[i]}
		}
	}
	return list, nil
}
