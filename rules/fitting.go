package rules

import "context"

// fitting is a list of mappings of which some are to be left out, so that the others go together.
type fitting struct {
	ctx      context.Context
	mappings []Mapping
	all      bool          // whether to find all misfits, and not one kind of them
	out      map[int]error // what is left out, by its place
	first    map[int]int   // where a mapping that is there again was first
	steps    int
}

func (f *fitting) enough() bool { return !f.all && len(f.out) > 0 }

// kept returns the mappings that stay, each once.
func (f *fitting) kept() []Mapping {
	if len(f.out)+len(f.first) == 0 {
		return f.mappings
	}
	kept := make([]Mapping, 0, len(f.mappings))
	for i, m := range f.mappings {
		if f.stays(i) {
			kept = append(kept, m)
		}
	}
	return kept
}

// firstConflict returns the error about the first mapping that is left out.
func (f *fitting) firstConflict() error {
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

// step counts the work, and asks the context now and then. Each loop over mappings, or what is made of them, takes it.
func (f *fitting) step() error {
	const often = 1 << 10
	if f.steps++; f.steps%often == 0 {
		return f.ctx.Err()
	}
	return nil
}
