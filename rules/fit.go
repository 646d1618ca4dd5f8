package rules

import "fmt"

// run leaves out what does not go with the others, and returns what stays; nothing where one misfit is enough and
// found. The first checked mappings are known to go together.
func (f *fitting) run(checked int) ([]Mapping, error) {
	if f.names(); f.enough() {
		return nil, nil
	}
	if err := f.overlapping(checked); err != nil || f.enough() {
		return nil, err
	}
	if err := f.owners(); err != nil || f.enough() {
		return nil, err
	}
	if f.tooMany(); f.enough() {
		return nil, nil
	}
	if err := f.loops(); err != nil || f.enough() {
		return nil, err
	}
	for at, first := range f.first {
		if err := f.out[first]; err != nil {
			f.leave(at, err)
		}
	}
	return f.kept(), nil
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

// overlapping leaves out each mapping that claims a packet of one before it that stays. The first checked of them are
// known to go together. Of those that are there twice the first counts.
func (f *fitting) overlapping(checked int) error {
	const few = 16
	switch {
	case len(f.mappings)-checked <= few:
		return f.compare(checked)
	case !portsOverlap(f.mappings):
		return nil
	}
	return f.search()
}

// tooMany leaves out the mappings with which there would be more than MaxPorts.
func (f *fitting) tooMany() {
	count := 0
	for i := range f.mappings {
		m := &f.mappings[i]
		switch n := m.ports.Count(); {
		case !f.stays(i):
		case count+n > MaxPorts:
			f.leave(i,
				&InvalidError{Mapping: m.Spec(), Why: fmt.Sprintf("more than %d ports in all mappings together",
					MaxPorts), Fix: "map fewer ports, or ranges that are shorter"})
		default:
			count += n
		}
	}
}
