package watch

import (
	"context"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/notify"
)

// Repairer makes the kernel hold what it should.
type Repairer interface {
	// Repair looks, and where the kernel holds something else than it should, changes it. It may return before ctx is
	// done only when it either did that or returns the error that kept it from it.
	Repair(ctx context.Context) (Repaired, error)

	// Changes returns the source of changes to the rules that Repair looks at; nil if there is none. It is another one
	// after these have moved.
	Changes(ctx context.Context) notify.Source
}

// Repaired is what a look came to.
type Repaired struct {
	Added   []rules.Mapping
	Removed []rules.Mapping
	Damage  string // what was wrong with rules that were made again; may be empty
	Total   int    // how many mappings should be live

	Edited   bool              // the file says something else than at the last look
	Wrong    error             // why the file cannot be applied: what it said before was repaired to
	Partly   bool              // it was wrong from the start, so that its lines that are right were
	Warnings []finding.Finding // what did not stop the change
}

// Changed reports whether anything was done.
func (h Repaired) Changed() bool { return len(h.Added)+len(h.Removed) > 0 || h.Damage != "" }
