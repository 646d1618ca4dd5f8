package rules

import (
	"errors"
	"slices"
)

// Change is what a backend is asked to do, all of it or nothing.
type Change struct {
	// Reset takes everything of ours out of the kernel first, in the same transaction: whatever is there, whole or
	// damaged. Remove then says what was live, for [Change.Inverse], and Add what is to be.
	Reset  bool
	Remove []Mapping
	Add    []Mapping

	// Before is what the caller believes to be live, from its file; nil where it does not know. A backend may spare
	// itself a look at everything, and answers [ErrDrift] where it sees that the belief is wrong.
	Before []Mapping

	// From is the Look of the [Live] that the change starts from: the backend need not read that again. It is nil if
	// nobody looked.
	From any
}

// Empty reports whether there is nothing to do.
func (c Change) Empty() bool { return !c.Reset && len(c.Remove) == 0 && len(c.Add) == 0 }

// Inverse returns the change that undoes c.
func (c Change) Inverse() Change {
	return Change{Reset: c.Reset, Remove: c.Add, Add: c.Remove} // what was before may be wrong by now
}

// Minus returns the mappings of a that are not in b.
func Minus(a, b []Mapping) []Mapping {
	if len(a) == 0 || len(b) == 0 {
		return slices.Clone(a)
	}
	in := make(map[string]bool, len(b))
	for _, m := range b {
		in[m.text] = true
	}
	var rest []Mapping
	for _, m := range a {
		if !in[m.text] {
			rest = append(rest, m)
		}
	}
	return rest
}

// ErrDrift says that a Change does not fit what the kernel holds: a mapping to remove is not there, or the place of one
// to add is taken. Nothing was changed; read what is live and ask again.
var ErrDrift = errors.New("the kernel's rules are not what was saved")
