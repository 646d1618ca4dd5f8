package rules

// Live is what a backend found in the kernel.
type Live struct {
	Mappings []LiveMapping // sorted by first listen port, then by text
	// Damaged says, in a phrase, what is not as portmap leaves it: a rule that is missing, an entry that no mapping
	// explains. It is empty if all is well. A Reset repairs it, unless Foreign is set.
	Damaged string
	Foreign string // how to take out what others have put in, because of which a Reset is refused
	Look    any    // what the backend read, in a form of its own, for [Change]; or nil
}

// LiveMapping is a mapping that the kernel has whole.
type LiveMapping struct {
	Mapping
	Connections uint64 // counted since it went in
}

// Set returns the live mappings as a Set.
func (l Live) Set() (Set, error) {
	mappings := make([]Mapping, 0, len(l.Mappings))
	for _, m := range l.Mappings {
		mappings = append(mappings, m.Mapping)
	}
	return NewSet(mappings...)
}
