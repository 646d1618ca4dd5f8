package rules

import "errors"

// Change is what a backend is asked to do, all of it or nothing.
type Change struct {
	// Reset takes everything of ours out of the kernel first, in the same transaction: whatever is there, whole or
	// damaged. Remove then says what was live, for [Change.Inverse], and Add what is to be.
	Reset  bool
	Remove []Mapping
	Add    []Mapping

	// Before is what the caller believes to be live, from its file; nil where it does not know. A backend may spare itself
	// a look at everything, and answers [ErrDrift] where it sees that the belief is wrong.
	Before []Mapping
}

// Empty reports whether there is nothing to do.
func (c Change) Empty() bool { return !c.Reset && len(c.Remove) == 0 && len(c.Add) == 0 }

// Inverse returns the change that undoes c.
func (c Change) Inverse() Change {
	return Change{Reset: c.Reset, Remove: c.Add, Add: c.Remove} // what was before may be wrong by now
}

// Live is what a backend found in the kernel.
type Live struct {
	Mappings []LiveMapping // sorted by [Compare]: a kernel has no order of its own
	// Damaged says, in a phrase, what is not as portmap leaves it: a rule that is missing, an entry that no mapping
	// explains. It is empty where all is well. A Reset mends it, or is refused and names what others have put in.
	Damaged string
	// Foreign is set where a Reset is refused because of what others did: how to take it out, as the refusal says it.
	Foreign string
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

// ErrDrift is what a backend answers to a Change that does not fit what the kernel holds: a mapping to remove that is not
// there, or one to add whose place is taken. Nothing was changed; read what is live and ask again.
var ErrDrift = errors.New("the kernel's rules are not what was saved")
