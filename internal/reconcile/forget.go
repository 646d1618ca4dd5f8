package reconcile

import (
	"context"
	"slices"

	"portmap/internal/conf"
	"portmap/internal/flows"
	"portmap/rules"
)

// ForgetFlows is the Forget of a real host.
func ForgetFlows(_ context.Context, c flows.Change) error { return flows.Forget(c) }

// flows returns what a change that is done means for flows. The kernel may have lost mappings before it: flows go on that a
// mapping translated which only the file still had, and what was put back beside what was asked for was lost.
func (p plan) flows(done rules.Change) flows.Change {
	return flows.Change{
		Removed:  slices.Concat(done.Remove, p.asked.Remove),
		Added:    done.Add,
		Restored: rules.Minus(done.Add, p.asked.Add),
		After:    p.aim,
	}
}

// Flows returns what the change, once it is done, means for flows, where the file stays as it is.
func (d Difference) Flows() flows.Change {
	return plan{aim: d.aim, asked: d.asked(d.aim)}.flows(d.Change)
}

// asked returns the part of the difference that is meant, where the file said something else before. A file that was edited by
// hand does not tell, but then the kernel does. If the kernel has none of the mappings, or not whole, others flushed them.
func (d Difference) asked(before rules.Set) rules.Change {
	asked := before.Diff(d.aim)
	if flushed := d.Damaged != "" || len(d.Change.Add) == d.aim.Len() && len(d.Change.Remove) == 0; !flushed {
		asked.Add = d.Change.Add
	}
	return asked
}

// saidIn returns the mappings of a file, of one that is damaged those that can be read.
func (h *Host) saidIn(content []byte) rules.Set {
	text, _ := conf.ParseGood(content, h.Services)
	return text.Set()
}
