package ipt

import (
	"bytes"
	"fmt"
	"slices"
)

// state is what a table nat is to hold, or holds, of ours.
type state struct {
	names  []string // chains, each behind those that lead to it
	chains map[string][]line
	jumps  map[string][]string
}

// stateOf returns what is there.
func (s *saved) state() state { return state{s.names, s.chains, s.jumps} }

// stateWith returns what is to be there, with the counters of rules that were there before.
func stateWith(chains []chain, before *saved) state {
	s := state{chains: map[string][]line{}, jumps: map[string][]string{}}
	if len(chains) > 0 && chains[0].name == rootChain {
		for _, door := range doors {
			s.jumps[door] = []string{jump}
		}
	}
	counted := map[string]line{}
	for _, lines := range before.chains {
		for _, l := range lines {
			if l.packets > 0 {
				counted[l.text] = l
			}
		}
	}
	for _, c := range chains {
		lines := make([]line, 0, len(c.rules))
		for _, r := range c.rules {
			l, known := counted[r.text]
			if !known {
				l.text = r.text
			}
			lines = append(lines, l)
		}
		s.names = append(s.names, c.name)
		s.chains[c.name] = lines
	}
	return s
}

// script is an input of iptables-restore that leads from one state to another. It names no rule of others.
type script struct {
	declare, fill, remove bytes.Buffer
}

// between writes the script for `iptables-restore --noflush --counters`; nil where there is nothing to do. Chains that are
// in both states are changed rule by rule, so that the other rules in them go on counting.
func between(from, to state) []byte {
	var s script
	for _, name := range to.names {
		have, there := from.chains[name]
		want := to.chains[name]
		switch {
		case there && slices.EqualFunc(have, want, func(a, b line) bool { return same(a.text, b.text) }):
		case there && s.edit(name, have, want):
		default:
			s.renew(name, want)
		}
	}
	for _, door := range doors {
		s.jump(door, from.jumps[door], to.jumps[door])
	}
	for _, name := range slices.Backward(from.names) {
		if _, stays := to.chains[name]; !stays {
			fmt.Fprintf(&s.declare, ":%s - [0:0]\n", name)
			fmt.Fprintf(&s.remove, "-X %s\n", name)
		}
	}
	if s.declare.Len()+s.fill.Len()+s.remove.Len() == 0 {
		return nil
	}
	return slices.Concat([]byte("*nat\n"), s.declare.Bytes(), s.fill.Bytes(), s.remove.Bytes(), []byte("COMMIT\n"))
}

// renew makes a chain, or empties the one that is there, and fills it.
func (s *script) renew(name string, want []line) {
	fmt.Fprintf(&s.declare, ":%s - [0:0]\n", name)
	for _, l := range want {
		s.counters(l)
		s.fill.WriteString("-A ")
		s.fill.WriteString(name)
		s.fill.WriteByte(' ')
		s.fill.WriteString(l.text)
		s.fill.WriteByte('\n')
	}
}

// edit takes rules out of a chain and puts others in between. It reports false, and has written nothing, where those that
// stay are in another order.
func (s *script) edit(name string, have, want []line) bool {
	wanted, there := meanings(want), meanings(have)
	var gone []line
	var kept []string
	for _, l := range have {
		if m := meaning(l.text); wanted[m] {
			kept = append(kept, m)
		} else {
			gone = append(gone, l)
		}
	}
	var inserted []int
	for i, l := range want {
		switch m := meaning(l.text); {
		case !there[m]:
			inserted = append(inserted, i)
		case len(kept) == 0 || kept[0] != m:
			return false
		default:
			kept = kept[1:]
		}
	}
	if len(kept) > 0 {
		return false
	}
	for _, l := range gone {
		fmt.Fprintf(&s.fill, "-D %s %s\n", name, l.text)
	}
	for _, i := range inserted { // ascending: all before it are in their places already
		s.counters(want[i])
		fmt.Fprintf(&s.fill, "-I %s %d %s\n", name, i+1, want[i].text)
	}
	return true
}

func meanings(lines []line) map[string]bool {
	set := make(map[string]bool, len(lines))
	for _, l := range lines {
		set[meaning(l.text)] = true
	}
	return set
}

func (s *script) counters(l line) {
	if l.packets > 0 {
		fmt.Fprintf(&s.fill, "[%d:%d] ", l.packets, l.bytes)
	}
}

// jump leaves in a door the jumps that are wanted there, which is one or none.
func (s *script) jump(door string, have, want []string) {
	var kept []string
	for _, text := range have {
		if len(kept) < len(want) && same(text, want[0]) {
			kept = append(kept, text)
			continue
		}
		fmt.Fprintf(&s.fill, "-D %s %s\n", door, text)
	}
	for _, text := range want[len(kept):] {
		fmt.Fprintf(&s.fill, "-A %s %s\n", door, text)
	}
}
