package main

import (
	"context"

	"portmap/internal/others"
	"portmap/internal/reconcile"
	"portmap/rules"
)

// noteOthers says which rules of other tools meet the packets of new mappings.
func (a *app) noteOthers(ctx context.Context, r reconcile.Report) {
	var added []rules.Mapping
	for _, o := range reconcile.Incoming(r.Outcomes) {
		added = append(added, o.Mapping)
	}
	if a.quiet || len(added) == 0 {
		return
	}
	found, err := others.Look(ctx, added)
	if err != nil {
		a.say("look at the rules of others: %v", err) // advice is all that is lost
	}
	system := others.Tables
	switch {
	case r.Silent:
		system = others.Legacy
	case r.Shared:
		system = others.IPTables
	}
	for _, advice := range others.Advise(found, system) {
		a.note("%s", advice)
	}
}

// mostAsked is for how many mappings list looks at the rules of others: it must not cost much.
const mostAsked = 1000

// noteUntracked says which rules keep packets from mappings that look active.
func (a *app) noteUntracked(ctx context.Context, l reconcile.Listing) {
	var live []rules.Mapping
	for i := range l.Rows {
		if l.Rows[i].State != reconcile.Missing {
			live = append(live, l.Rows[i].Mapping)
		}
	}
	if a.quiet || len(live) == 0 || len(live) > mostAsked {
		return
	}
	found, err := others.Look(ctx, live)
	if err != nil {
		a.say("look at the rules of others: %v", err) // advice is all that is lost
	}
	for _, advice := range others.Untracked(found) {
		a.note("%s", advice)
	}
}
