package ipt

import (
	"slices"
)

// state is what the tables of a family are to hold, or hold, of ours.
type state struct {
	names  []chainID // chains, each behind those that lead to it
	chains map[chainID][]line
	jumps  map[chainID][]rule // by hook

	stopped map[chainID]ruleLine // by hook: a rule of others before the jumps that takes every packet
}

func newState() state {
	return state{chains: map[chainID][]line{}, jumps: map[chainID][]rule{}, stopped: map[chainID]ruleLine{}}
}

// wanted returns what is to be there, with the counters of rules that were there before.
func wanted(chains []chain, before *saved) state {
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
	for _, h := range hooks() {
		for _, j := range h.jumps {
			if _, leads := s.chains[chainID{h.table, j.chain}]; leads {
				s.jumps[h.chainID] = append(s.jumps[h.chainID], j)
			}
		}
	}
	return s
}

func equalRules(a, b []line) bool {
	return slices.EqualFunc(a, b, func(a, b line) bool { return a.rule == b.rule })
}

func setOf(lines []line) map[rule]bool {
	set := make(map[rule]bool, len(lines))
	for _, l := range lines {
		set[l.rule] = true
	}
	return set
}

// only returns what is there of some chains.
func (s state) only(names []chainID) state {
	part := newState()
	for _, id := range s.names {
		if slices.Contains(names, id) {
			part.names = append(part.names, id)
			part.chains[id] = s.chains[id]
		}
	}
	return part
}
