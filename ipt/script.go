package ipt

import (
	"bytes"
	"fmt"
	"slices"
)

// state is what the tables of a family are to hold, or hold, of ours.
type state struct {
	names  []chainID // chains, each behind those that lead to it
	chains map[chainID][]line
	jumps  map[chainID][]rule // by door
}

func newState() state { return state{chains: map[chainID][]line{}, jumps: map[chainID][]rule{}} }

// stateWith returns what is to be there, with the counters of rules that were there before.
func stateWith(chains []chain, before *saved) state {
	s := newState()
	counted := map[rule]line{}
	for _, lines := range before.chains {
		for _, l := range lines {
			if l.packets > 0 {
				counted[l.rule] = l
			}
		}
	}
	for _, c := range chains {
		for i := range c.rules {
			if l := &c.rules[i]; len(counted) > 0 {
				l.packets, l.bytes = counted[l.rule].packets, counted[l.rule].bytes
			}
		}
		s.names = append(s.names, c.id)
		s.chains[c.id] = c.rules
	}
	for _, d := range doors() {
		if _, leads := s.chains[chainID{d.table, d.jumps[0].chain}]; leads {
			s.jumps[d.chainID] = d.jumps
		}
	}
	return s
}

// script is the part of an input of iptables-restore that is about one table. It names no rule of others.
type script struct {
	declare, fill, remove bytes.Buffer
}

// between writes the script for `iptables-restore --noflush --counters` that leads from one state to another; nil where
// there is nothing to do. Each table is a transaction.
func between(from, to state) []byte {
	var all []byte
	for _, t := range ownTables {
		var s script
		s.chains(t, from, to)
		for _, d := range doors() {
			if d.table == t {
				s.jumps(d.name, from.jumps[d.chainID], to.jumps[d.chainID])
			}
		}
		if s.declare.Len()+s.fill.Len()+s.remove.Len() > 0 {
			all = fmt.Appendf(all, "*%s\n%s%s%sCOMMIT\n", t, s.declare.Bytes(), s.fill.Bytes(), s.remove.Bytes())
		}
	}
	return all
}

// chains writes what becomes of the chains of a table. Those that are in both states are changed rule by rule, so that the
// other rules in them go on counting.
func (s *script) chains(t table, from, to state) {
	for _, id := range to.names {
		if id.table != t {
			continue
		}
		have, there := from.chains[id]
		want := to.chains[id]
		switch {
		case there && equalRules(have, want):
		case there && s.edit(id.name, have, want):
		default:
			s.renew(id.name, want)
		}
	}
	for _, id := range slices.Backward(from.names) {
		if _, stays := to.chains[id]; id.table == t && !stays {
			fmt.Fprintf(&s.declare, ":%s - [0:0]\n", id.name)
			fmt.Fprintf(&s.remove, "-X %s\n", id.name)
		}
	}
}

func equalRules(a, b []line) bool {
	return slices.EqualFunc(a, b, func(a, b line) bool { return a.rule == b.rule })
}

// renew makes a chain, or empties the one that is there, and fills it.
func (s *script) renew(name string, want []line) {
	fmt.Fprintf(&s.declare, ":%s - [0:0]\n", name)
	for i := range want {
		s.counters(&want[i])
		s.fill.WriteString("-A ")
		s.fill.WriteString(name)
		s.fill.WriteByte(' ')
		s.rule(&want[i].rule)
	}
}

func (s *script) rule(r *rule) {
	s.fill.Write(r.append(s.fill.AvailableBuffer()))
	s.fill.WriteByte('\n')
}

// edit takes rules out of a chain and puts others in between. It reports false, and has written nothing, where those that
// stay are in another order.
func (s *script) edit(name string, have, want []line) bool {
	wanted, there := setOf(want), setOf(have)
	var gone []line
	var kept []rule
	for _, l := range have {
		if wanted[l.rule] {
			kept = append(kept, l.rule)
		} else {
			gone = append(gone, l)
		}
	}
	var inserted []int
	for i, l := range want {
		switch {
		case !there[l.rule]:
			inserted = append(inserted, i)
		case len(kept) == 0 || kept[0] != l.rule:
			return false
		default:
			kept = kept[1:]
		}
	}
	if len(kept) > 0 {
		return false
	}
	for _, l := range gone {
		if l.text == "" {
			l.text = l.rule.String()
		}
		fmt.Fprintf(&s.fill, "-D %s %s\n", name, l.text)
	}
	for _, i := range inserted { // ascending: all before it are in their places already
		s.counters(&want[i])
		fmt.Fprintf(&s.fill, "-I %s %d ", name, i+1)
		s.rule(&want[i].rule)
	}
	return true
}

func setOf(lines []line) map[rule]bool {
	set := make(map[rule]bool, len(lines))
	for _, l := range lines {
		set[l.rule] = true
	}
	return set
}

func (s *script) counters(l *line) {
	if l.packets > 0 {
		fmt.Fprintf(&s.fill, "[%d:%d] ", l.packets, l.bytes)
	}
}

// jumps leaves in a door the jumps that are wanted there, once each. One that comes, or is there more than once, is put at
// the beginning; one that is there stays in its place, so that no two tools fight for the first.
func (s *script) jumps(door string, have, want []rule) {
	stays := func(r rule) bool {
		return slices.Contains(want, r) && !slices.Contains(have[slices.Index(have, r)+1:], r)
	}
	for _, r := range have {
		if !stays(r) {
			fmt.Fprintf(&s.fill, "-D %s %s\n", door, r)
		}
	}
	for _, r := range slices.Backward(want) {
		if !slices.Contains(have, r) || !stays(r) {
			fmt.Fprintf(&s.fill, "-I %s 1 %s\n", door, r)
		}
	}
}
