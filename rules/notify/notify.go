// Package notify is how a backend tells of changes to its rules, by whatever program.
package notify

import (
	"context"
	"time"
)

// Source tells of changes to the rules of a backend. The rules of a backend without one are read at intervals.
type Source interface {
	// Mark returns a number that is another one after a change. It is quick.
	Mark() (uint64, error)

	// After reports whether a mark is of a time after another mark.
	After(mark, known uint64) bool

	// Known returns the mark up to which nothing needs another look, after a look that began at before, ended at after,
	// and made at most one change. It was known until then.
	Known(known, before, after uint64, changed bool) uint64

	// Notices hands over what the kernel tells, until ctx is done or the Source is closed. It is nil if the kernel
	// tells nothing: Mark has to be asked.
	Notices(context.Context) <-chan Notice

	// Every returns how often Mark is to be asked beside; 0 if the kernel tells of each change. A mark that has to be
	// asked for can miss a change that leaves the rules as long as they were.
	Every() time.Duration

	// Close ends it, and the notices.
	Close() error
}

// Notice is a transaction that somebody made.
type Notice struct {
	Mark uint64
	By   string // the name of the process; may be empty
	Lost bool   // there were others, of which nothing is known
}
