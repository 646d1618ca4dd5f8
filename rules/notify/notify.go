// Package notify defines how a backend reports changes to its rules, whichever program made them.
package notify

import (
	"context"
	"time"
)

// Source reports changes to the rules of a backend. The rules of a backend without a Source are read at intervals.
type Source interface {
	// Mark returns a number that differs after a change. It is quick.
	Mark() (uint64, error)

	// After reports whether mark is later than known.
	After(mark, known uint64) bool

	// Known returns the mark up to which the rules need no further check, given the previous one and a check that began
	// at before, ended at after, and made at most one change.
	Known(known, before, after uint64, changed bool) uint64

	// Notices returns the notifications of the kernel, until ctx is done or the Source is closed. It is nil if the
	// kernel sends none: then the caller polls Mark.
	Notices(context.Context) <-chan Notice

	// Every returns how often to poll Mark; 0 if the kernel reports each change. A polled mark can miss a change that
	// leaves the rules as long as they were.
	Every() time.Duration

	// Close closes the Source and ends its notices.
	Close() error
}

// Notice is a transaction that some program made.
type Notice struct {
	Mark uint64
	By   string // the name of the process; may be empty
	Lost bool   // notifications were lost
}
