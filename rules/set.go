package rules

import (
	"context"
	"slices"
	"sort"
)

// Set is a list of mappings of which no two claim the same packet, no two have the same name and none leads back to
// itself. The zero Set is empty. A Set does not change: its methods return another.
type Set struct{ mappings []Mapping }

// NewSet is [Set.Add] to an empty Set.
func NewSet(mappings ...Mapping) (Set, error) { return Set{}.Add(mappings...) }

// Misfit is a mapping that does not go with others.
type Misfit struct {
	At  int   // its place in the list
	Err error // a [*ConflictError], an [*OwnerError], a [*LoopError] or an [*InvalidError]
}

// Fit returns the Set of those mappings that go together, and the others in the order of the list. Of two with one
// name, or that claim the same packet, it leaves out the later; of a loop the first. The error is that of ctx.
func Fit(ctx context.Context, mappings []Mapping) (Set, []Misfit, error) {
	f := fitting{ctx: ctx, mappings: mappings, all: true}
	kept, err := f.run(0)
	if err != nil {
		return Set{}, nil, err
	}
	misfits := make([]Misfit, 0, len(f.out))
	for at, err := range f.out {
		misfits = append(misfits, Misfit{at, err})
	}
	sort.Slice(misfits, func(i, k int) bool { return misfits[i].At < misfits[k].At })
	return Set{kept}, misfits, nil
}

// Len returns the number of mappings.
func (s Set) Len() int { return len(s.mappings) }

// Mappings returns the mappings in their order.
func (s Set) Mappings() []Mapping { return slices.Clone(s.mappings) }

// Has reports whether the very same mapping is in the Set.
func (s Set) Has(m Mapping) bool {
	return slices.ContainsFunc(s.mappings, m.Equal)
}

// Add returns the Set with more mappings behind its own. The error is a [*ConflictError], an [*OwnerError], a
// [*LoopError], or an [*InvalidError] if there are too many. The slice belongs to the Set from then on.
func (s Set) Add(more ...Mapping) (Set, error) {
	if len(more) == 0 {
		return s, nil // many callers have none, and a large Set
	}
	all := more
	if len(s.mappings) > 0 {
		all = slices.Concat(s.mappings, more)
	}
	f := fitting{ctx: context.Background(), mappings: all}
	kept, err := f.run(len(s.mappings))
	if err == nil && len(f.out) > 0 {
		err = f.firstConflict()
	}
	return Set{kept}, err
}

// Replace is [Set.Add] in the place of those in the way, which it returns, too.
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

func without(mappings []Mapping, gone map[int]bool) []Mapping {
	kept := make([]Mapping, 0, len(mappings))
	for i, m := range mappings {
		if !gone[i] {
			kept = append(kept, m)
		}
	}
	return kept
}
