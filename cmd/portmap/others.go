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
	case r.Legacy:
		system = others.Legacy
	case r.Shared:
		system = others.IPTables
	}
	for _, advice := range others.Advise(found, system) {
		a.note("%s", advice)
	}
}
