package check

import (
	"portmap/internal/others"
	"portmap/internal/pinhole"
	"portmap/rules"
)

// cureFor returns what lets a mapping's connections pass what stopped the packet of a Way: a rule before the one that
// stopped it, in the place where its tool keeps rules; behind all others where a policy drops.
func cureFor(s stop, w *Way) (c pinhole.Commands) {
	at := pinhole.Place{Program: s.program, Table: s.table, Chain: s.chain, Before: uint64(s.number), Last: s.policy()}
	switch {
	case s.number == 0 && !s.policy(): // the rule is gone already
		return c
	case s.tool == "firewalld", s.tool == "ufw":
		at.Program = s.tool
	case s.system == others.Tables:
		at.Program, at.Table, at.Before = "nft", s.fullTable(), s.handle
	}
	c.Let(pinhole.Connections{Mappings: []rules.Mapping{w.Mapping}, Family: w.Family(), Protocol: w.Protocol,
		Early: !s.answer && s.at == w.To.Port() && s.chain != "INPUT"}, at)
	return c
}
