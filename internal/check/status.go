package check

import (
	"slices"

	"portmap/internal/finding"
	"portmap/internal/reconcile"
)

// Status is what packets say of a mapping. The words are stable.
type Status string

// The statuses.
const (
	Reachable   Status = "reachable"
	Partly      Status = "partly reachable" // not by each protocol and family
	Unreachable Status = "not reachable"
	Untried     Status = "not tried" // no packet was sent, or none that could stand for a client's
	Missing     Status = "missing"   // not in the kernel
)

// Status returns how a mapping is reached.
func (one *Result) Status() Status {
	reached, told := 0, 0
	for i := range one.Ways {
		if w := &one.Ways[i]; w.Reached {
			reached, told = reached+1, told+1
		} else if !w.Untold {
			told++
		}
	}
	switch {
	case one.State == reconcile.Missing:
		return Missing
	case told == 0:
		return Untried
	case reached == 0:
		return Unreachable
	case reached < told:
		return Partly
	}
	return Reachable
}

// Findings returns all findings, in the order in which they are printed.
func (r *Report) Findings() (list []finding.Finding) {
	for i := range r.Results {
		list = append(list, r.Results[i].Findings...)
	}
	return append(list, r.Host...)
}

// Clean reports whether nothing was found that keeps clients from a server, or may soon.
func (r *Report) Clean() bool {
	worse := func(f finding.Finding) bool { return f.Severity() != finding.Hint }
	for i := range r.Results {
		if slices.ContainsFunc(r.Results[i].Findings, worse) {
			return false
		}
	}
	return !slices.ContainsFunc(r.Host, worse)
}
