package main

import (
	"context"
	"fmt"
	"slices"

	"portmap/internal/boot"
	"portmap/internal/finding"
	"portmap/internal/others"
	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/internal/switches"
	"portmap/rules"
)

// notes prints findings, without -q.
func (a *app) notes(list ...finding.Finding) {
	for _, f := range list {
		a.note("%s", f.Line())
		a.said = append(a.said, f.ID)
	}
}

// pointToCheck names the command that says more, if something that was said keeps clients from a server.
func (a *app) pointToCheck(words ...string) {
	ofRules := []finding.ID{finding.RulesMissing, finding.RulesDamaged, finding.RulesForeign} // their remedy is all
	broken := func(id finding.ID) bool {
		return finding.Finding{ID: id}.Severity() == finding.Broken && !slices.Contains(ofRules, id)
	}
	if slices.ContainsFunc(a.said, broken) {
		a.note("to find out what keeps clients away: %s", a.here(append([]string{"check"}, words...)...))
	}
}

// pointAfter is pointToCheck after a change that added mappings. That no server listens yet is how most begin, and
// needs no finding out.
func (a *app) pointAfter(r reconcile.Report) {
	a.said = slices.DeleteFunc(a.said, func(id finding.ID) bool { return id == finding.NoServer })
	if added := incoming(r); len(added) == 1 {
		a.pointToCheck(added[0].ListenPorts().String())
	} else {
		a.pointToCheck()
	}
}

// warnings prints findings of a change that was made all the same, also with -q.
func (a *app) warnings(list ...finding.Finding) {
	for _, f := range list {
		fmt.Fprintf(a.err, "portmap: %s\n", f.Line())
	}
}

// noteServers says what stands behind new mappings, and what stands in front of them.
func (a *app) noteServers(ctx context.Context, r reconcile.Report, found servers.Found) {
	if a.quiet {
		return
	}
	added := incoming(r)
	a.notes(servers.Advise(added, found, a.here)...)
	a.noteSharedTarget(ctx, added)
	a.notes(switches.Advise(added, a.here)...)
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
	a.notes(servers.SharedTarget(kernel, added, append(saved.Mappings(), added...))...)
}

// noteOthers says which rules of other tools meet the packets of new mappings.
func (a *app) noteOthers(ctx context.Context, r reconcile.Report) {
	a.noteRulesOfOthers(ctx, incoming(r), systemOf(r.Legacy, r.Shared))
}

func (a *app) noteRulesOfOthers(ctx context.Context, mappings []rules.Mapping, system others.System) {
	if a.quiet || len(mappings) == 0 {
		return
	}
	found, err := others.Look(ctx, mappings)
	if err != nil {
		a.say("look at the rules of others: %v", err) // advice is all that is lost
	}
	a.notes(others.Advise(found, system)...)
	a.notes(others.Dropped(found)...)
	a.notes(others.Forwarded(found)...)
}

// systemOf returns where portmap's own rules are.
func systemOf(legacy, shared bool) others.System {
	switch {
	case legacy:
		return others.Legacy
	case shared:
		return others.IPTables
	}
	return others.Tables
}

// noteBoot says what would become of the mappings, where that could be better.
func (a *app) noteBoot(r reconcile.Report) {
	if len(r.Outcomes) == 0 && r.Moved == "" {
		return
	}
	file := a.savedAt()
	first := r.First || r.Moved != "" || a.name == "apply" && file != defaultConfig
	a.notes(a.boot().Advice(boot.Change{File: file, First: first, Legacy: r.Legacy, Shared: r.Shared,
		Switches: len(switches.Needed(incoming(r))) > 0})...)
}

// noteNoFile says that the file of --config does not exist, which may be a typing error. Without the default file,
// there are no mappings yet.
func (a *app) noteNoFile(missing bool) {
	if missing && a.config != defaultConfig {
		a.notes(finding.Finding{ID: finding.FileMissing, Text: a.config + " does not exist"})
	}
}

// incoming returns the mappings that were not live before.
func incoming(r reconcile.Report) (added []rules.Mapping) {
	for _, o := range reconcile.Incoming(r.Outcomes) {
		added = append(added, o.Mapping)
	}
	return added
}

// mostAsked is for how many mappings list looks at the rules of others: it must not cost much.
const mostAsked = 1000

// noteListing says, below the table, what a person should know of it. That there are two variants of iptables is no
// news each time: a wide listing has it.
func (a *app) noteListing(ctx context.Context, l reconcile.Listing, wide bool) {
	if !wide {
		l.Notes = slices.DeleteFunc(l.Notes, func(f finding.Finding) bool { return f.ID == finding.OtherVariant })
	}
	a.notes(l.Findings()...)
	a.noteRulesBefore(ctx, l)
	a.pointToCheck()
}

// noteRulesBefore says which rules of other tools keep packets from mappings that look active.
func (a *app) noteRulesBefore(ctx context.Context, l reconcile.Listing) {
	var live []rules.Mapping
	for i := range l.Rows {
		if l.Rows[i].State != reconcile.Missing {
			live = append(live, l.Rows[i].Mapping)
		}
	}
	if l.Denied == nil && len(live) <= mostAsked {
		a.noteRulesOfOthers(ctx, live, systemOf(l.Legacy, l.Shared))
	}
}
