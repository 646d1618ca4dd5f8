package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/rules"
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
	for _, n := range r.Notes {
		a.note("%s", n)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(a.err, "portmap: warning: %s\n", w)
	}
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

// noteServers says what stands behind new mappings, and what stands in front of them.
func (a *app) noteServers(ctx context.Context, r reconcile.Report, found servers.Found) {
	if a.quiet {
		return
	}
	var added []rules.Mapping
	for _, o := range r.Outcomes {
		if o.Verb != reconcile.Unchanged {
			added = append(added, o.Mapping)
		}
	}
	for _, advice := range servers.Advise(added, found) {
		a.note("%s", advice)
	}
	a.noteSharedTarget(ctx, added)
}

// noteSharedTarget warns of two mappings that end at one port, where the kernel cannot do that.
func (a *app) noteSharedTarget(ctx context.Context, added []rules.Mapping) {
	kernel := servers.ThisKernel()
	if !kernel.ConfusesSockets() {
		return // and the file need not be read again
	}
	saved, err := a.saved(ctx)
	if err != nil {
		return
	}
	if warning := servers.SharedTarget(kernel, added, append(saved.Mappings(), added...)); warning != "" {
		a.note("%s", warning)
	}
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
