package main

import (
	"errors"
	"fmt"
	"strings"

	"portmap/internal/reconcile"
)

var (
	errAddWhat    = errors.New("add: a mapping is missing, for example 443:8443")
	errKeepGoing  = errors.New("apply: --keep-going is for the saved file, not for one that is named by -f")
	errRemoveWhat = errors.New("remove: name the mappings to remove, or --all")
)

// outcomes prints a line a mapping, and the warnings.
func (a *app) outcomes(r reconcile.Report, dryRun bool) {
	a.changed = !dryRun
	if !a.quiet {
		for _, o := range r.Outcomes {
			fmt.Fprintln(a.out, outcomeLine(o, dryRun))
		}
	}
	if r.Moved != "" {
		a.note("%s", r.Moved)
	}
	a.notes(r.Notes...)
	a.warnings(r.Warnings...)
}

func outcomeLine(o reconcile.Outcome, dryRun bool) string {
	verb := string(o.Verb)
	if dryRun && o.Verb != reconcile.Unchanged {
		verb = map[reconcile.Verb]string{
			reconcile.Added: "would add", reconcile.Removed: "would remove", reconcile.Replaced: "would replace",
		}[o.Verb]
	}
	if o.Verb != reconcile.Replaced {
		return verb + " " + o.Mapping.String()
	}
	old := make([]string, 0, len(o.Old))
	for _, m := range o.Old {
		old = append(old, m.String())
	}
	return fmt.Sprintf("%s %s with %s", verb, strings.Join(old, ", "), o.Mapping)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(uint64(n)) + " " + noun + "s"
}

// thousands writes 1204 as 1,204.
func thousands(n uint64) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
