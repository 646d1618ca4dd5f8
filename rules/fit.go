package rules

import (
	"context"
	"fmt"
	"slices"
)

// MaxPorts is how many listen ports the mappings of a [Set] have in all: sixteen times all that there are. It bounds what a
// file can cost; a kernel has no room for that many rules.
const MaxPorts = 1 << 20

// Misfit is a mapping that does not go with others.
type Misfit struct {
	At  int   // its place in the list
	Err error // a [*ConflictError], a [*LoopError] or an [*InvalidError]
}

// Fit returns the Set of those mappings that go together, and the others, in the order of the list. Of two with one name, or
// that claim the same packet, the later is left out; of a loop its first. A mapping that is there twice is there once. The
// time that it takes grows with the length of the list, hardly more. The error is that of the context.
func Fit(ctx context.Context, mappings []Mapping) (Set, []Misfit, error) {
	f := fitting{ctx: ctx, mappings: mappings, all: true}
	set, err := f.run(0)
	if err != nil {
		return Set{}, nil, err
	}
	misfits := make([]Misfit, 0, len(f.out))
	for at, err := range f.out {
		misfits = append(misfits, Misfit{at, err})
	}
	slices.SortFunc(misfits, func(a, b Misfit) int { return a.At - b.At })
	return set, misfits, nil
}

// fitting is a Set that is being made.
type fitting struct {
	ctx      context.Context
	mappings []Mapping
	all      bool          // whether to find all misfits, and not one kind of them
	out      map[int]error // what is left out, by its place
	first    map[int]int   // where a mapping that is there again was first
	steps    int
}

// run finds what does not fit. The first checked mappings are known to go together.
func (f *fitting) run(checked int) (Set, error) {
	if f.names(); f.enough() {
		return Set{}, nil
	}
	if err := f.overlapping(checked); err != nil || f.enough() {
		return Set{}, err
	}
	if f.tooMany(); f.enough() {
		return Set{}, nil
	}
	if err := f.loops(); err != nil || f.enough() {
		return Set{}, err
	}
	for at, first := range f.first {
		if err := f.out[first]; err != nil {
			f.leave(at, err)
		}
	}
	return f.set(), nil
}

func (f *fitting) enough() bool { return !f.all && len(f.out) > 0 }

func (f *fitting) set() Set {
	if len(f.out)+len(f.first) == 0 {
		return Set{f.mappings}
	}
	kept := make([]Mapping, 0, len(f.mappings))
	for i, m := range f.mappings {
		if f.stays(i) {
			kept = append(kept, m)
		}
	}
	return Set{kept}
}

// err is the error about the first mapping that is left out.
func (f *fitting) err() error {
	first := -1
	for at := range f.out {
		if first < 0 || at < first {
			first = at
		}
	}
	return f.out[first]
}

// stays reports whether a mapping is still to be in the Set.
func (f *fitting) stays(at int) bool {
	_, again := f.first[at]
	return !again && f.out[at] == nil
}

func (f *fitting) leave(at int, err error) {
	if f.out == nil {
		f.out = map[int]error{}
	}
	f.out[at] = err
}

func (f *fitting) repeat(first, at int) {
	if f.first == nil {
		f.first = map[int]int{}
	}
	f.first[at] = first
}

// tooMany leaves out the mappings with which there would be more than MaxPorts.
func (f *fitting) tooMany() {
	count := 0
	for i := range f.mappings {
		m := &f.mappings[i]
		switch n := m.ports.Count(); {
		case !f.stays(i):
		case count+n > MaxPorts:
			f.leave(i, &InvalidError{Mapping: m.Spec(), Why: fmt.Sprintf("more than %d ports in all mappings together", MaxPorts), Fix: "map fewer ports, or ranges that are shorter"})
		default:
			count += n
		}
	}
}

// step counts the work, and asks the context now and then. Each loop over mappings, or what is made of them, takes it.
func (f *fitting) step() error {
	const often = 1 << 10
	if f.steps++; f.steps%often == 0 {
		return f.ctx.Err()
	}
	return nil
}
