package rules

import (
	"errors"
	"slices"
)

// Change is what a backend is asked to do, all of it or nothing.
type Change struct {
	// Reset first removes all that is ours, whole or damaged. Remove then says what was live, for [Change.Inverse].
	Reset       bool
	Remove, Add []Mapping
	// Before is what the caller expects to be live; nil if it does not know. A backend may trust it instead of reading
	// everything, and returns [ErrDrift] if it sees that it is wrong.
	Before []Mapping
	// From is the Look of the [Live] that the change starts from, so that the backend need not read again; or nil.
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

// ErrDrift says that a mapping to remove is not in the kernel, or the place of one to add is taken. Nothing was changed
// then.
var ErrDrift = errors.New("the kernel's rules are not what was saved")
