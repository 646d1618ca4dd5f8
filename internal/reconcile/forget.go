package reconcile

import (
	"context"
	"errors"
	"fmt"

	"portmap/internal/finding"
	"portmap/internal/flows"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// ForgetFlows is the Forget of a real host.
func ForgetFlows(_ context.Context, c flows.Change) error {
	err := flows.Forget(c)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) { // a kernel without ctnetlink
		return errNoCtnetlink
	}
	return err
}

var errNoCtnetlink = errors.New("this kernel does not let its connection tracking be changed")

// notForgotten says that a Forget failed.
func notForgotten(err error) finding.Finding {
	f := finding.Finding{
		ID: finding.ConntrackStale, Text: fmt.Sprintf("open connections may go their old way for a while: %v", err),
	}
	if errors.Is(err, errNoCtnetlink) {
		f.Remedy = "sudo modprobe nf_conntrack_netlink"
	}
	return f
}

// flows returns what a change that is done means for flows. The kernel may have lost mappings before it. What
// was asked to go may have translated flows although it was not live, and what came back unasked was lost.
func (p plan) flows(done rules.Change) flows.Change {
	return flows.Change{
		Removed:  append(rules.Minus(p.asked.Remove, done.Remove), done.Remove...),
		Added:    done.Add,
		Restored: rules.Minus(done.Add, p.asked.Add),
		After:    []rules.Set{p.desired, p.others},
	}
}

// asked returns the part of the difference that comes from a change of the file. Before is what the file
// said; a file that was edited by hand does not say it any more, but the kernel does. If the kernel has none
// of the mappings, or damaged ones, others flushed them, and only the file knows them.
func (d Difference) asked(before rules.Set) rules.Change {
	asked := before.Diff(d.desired)
	if flushed := d.Damaged != "" || len(d.Change.Add) == d.desired.Len() && len(d.Change.Remove) == 0; !flushed {
		asked.Add = d.Change.Add
	}
	return asked
}

// saidIn returns the mappings of a file; of an invalid file, those of its valid lines.
func (h *Host) saidIn(ctx context.Context, content []byte) rules.Set {
	text, _, _ := h.reader().ParseGood(ctx, content) // if nothing can be read, some flows stay
	return text.Set()
}
