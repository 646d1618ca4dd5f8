package watch

import (
	"context"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/notify"
)

// Repairer makes the kernel match the file.
type Repairer interface {
	// Repair checks the kernel, and changes what differs. Without an error, the kernel matches when it returns.
	Repair(ctx context.Context) (Repaired, error)

	// Changes returns the source of changes to the rules that Repair checks; nil if there is none. It returns another
	// one after the rules have moved to another filter.
	Changes(ctx context.Context) notify.Source
}

// Repaired is the result of a check.
type Repaired struct {
	Added   []rules.Mapping
	Removed []rules.Mapping
	Damage  string // what was wrong with rules that were made again; may be empty
	Total   int    // how many mappings should be live

	Edited   bool              // the file differs from the last check
	Wrong    error             // why the file cannot be applied; its last valid version is live
	Partly   bool              // the file was invalid from the start; its valid lines are live
	Warnings []finding.Finding // what did not stop the change
}

// Changed reports whether anything was changed.
func (r Repaired) Changed() bool { return len(r.Added)+len(r.Removed) > 0 || r.Damage != "" }
