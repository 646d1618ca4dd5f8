package rules

// Live is what a backend found in the kernel.
type Live struct {
	Mappings []LiveMapping // sorted by [Compare]: a kernel has no order of its own
	// Damaged says, in a phrase, what is not as portmap leaves it: a rule that is missing, an entry that no mapping
	// explains. It is empty where all is well. A Reset mends it, or is refused and names what others have put in.
	Damaged string
	// Foreign is set where a Reset is refused because of what others did: how to take it out, as the refusal says it.
	Foreign string
	// Look is what the backend read, in a form of its own, for a [Change] that starts from it; nil if the backend has
	// no use for it.
	Look any
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
