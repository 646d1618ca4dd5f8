package ipt

import (
	"fmt"
	"slices"
	"sort"

	"portmap/rules"
	"portmap/rules/facts"
	"portmap/rules/ruletext"
)

// families are the address families, each with a table of its own, in the order in which they are changed.
var families = [...]rules.Families{rules.IPv4, rules.IPv6}

// snapshot is what one variant of iptables holds of ours: by family, in the order of [families]. A family that the host
// does not have is nil.
type snapshot struct {
	families [len(families)]*saved
	labels   *labels
}

func (s snapshot) empty() bool {
	for _, family := range s.families {
		if family != nil && !family.empty() {
			return false
		}
	}
	return true
}

// mappings returns the mappings that comments name, whole or not, sorted.
func (s snapshot) mappings() []rules.Mapping {
	var pieces []string
	labels := map[string]bool{}
	for _, family := range s.families {
		if family == nil {
			continue
		}
		for id, lines := range family.chains {
			for i := range lines {
				if lines[i].rule.foreign != "" {
					continue
				}
				switch comment := lines[i].rule.comment; {
				case id == textID:
					pieces = append(pieces, comment) // of a temporary mapping the whole text, which its rules have, too
				case comment != "" && id.table == nat:
					labels[comment] = true
				}
			}
		}
	}
	texts := ruletext.Join(pieces)
	found := make([]rules.Mapping, 0, len(labels))
	for text := range labels {
		if text[0] == '~' {
			text = texts[text]
		}
		if m, ok := s.labels.mapping(text); ok && supported(&m) == nil {
			found = append(found, m)
		}
	}
	sort.Slice(found, func(i, k int) bool { return facts.Compare(found[i], found[k]) < 0 })
	return found
}

// live compares what is there with what should be there for the mappings that the comments name.
func (s snapshot) live() rules.Live {
	mappings := s.mappings()
	r := reading{mappings: mappings, want: make([]int, len(mappings)), seen: make([]int, len(mappings)),
		packets: make([]uint64, len(mappings))}
	for i, family := range s.families {
		if family != nil {
			r.family(family, encode(mappings, families[i]))
		}
	}
	live := rules.Live{Mappings: make([]rules.LiveMapping, 0, len(mappings))}
	for i, m := range mappings {
		if r.seen[i] < r.want[i] {
			r.damage("%s has %d of its %d rules", m.Spec(), r.seen[i], r.want[i])
			continue
		}
		if r.want[i] > 0 {
			live.Mappings = append(live.Mappings, rules.LiveMapping{Mapping: m, Connections: r.packets[i]})
		}
	}
	live.Damaged = r.damaged
	return live
}

// nameForeign says of what is live what others put among the rules. A Reset is refused as long as it is there.
func (s snapshot) nameForeign(live *rules.Live, t tools) {
	for i, family := range s.families {
		if family == nil {
			continue
		}
		main := t.programs[i].main
		if l, found := family.intruder(func(chainID) bool { return true }); found {
			live.Damaged, live.Foreign = intruderText(l), takeOut(main, l)
			return
		}
		for _, c := range encode(s.mappings(), families[i]) {
			if family.foreign[c.id] {
				live.Damaged, live.Foreign = foreignText(c.id), rename(main, c.id)
				return
			}
		}
	}
}

func intruderText(l ruleLine) string {
	return fmt.Sprintf("a rule of others stands in %s: -A %s", l.in, l)
}

func foreignText(id chainID) string {
	return fmt.Sprintf("a chain %s is there that is not portmap's", id)
}

// reading counts, for each mapping, the rules that it should have and those that it has.
type reading struct {
	mappings   []rules.Mapping
	want, seen []int
	packets    []uint64
	damaged    string
}

func (r *reading) damage(format string, args ...any) {
	if r.damaged == "" {
		r.damaged = fmt.Sprintf(format, args...)
	}
}

func (r *reading) family(s *saved, want []chain) {
	if l, found := s.intruder(func(chainID) bool { return true }); found {
		r.damage("%s", intruderText(l))
	}
	next := wanted(want, s)
	for _, c := range want {
		r.chain(s, c)
	}
	for _, id := range s.names {
		if _, expected := next.chains[id]; !expected {
			r.damage("chain %s is left over", id)
		}
	}
	for _, d := range hooks() {
		r.jumps(d.chainID, s.jumps[d.chainID], next.jumps[d.chainID])
		if l, found := s.stopped[d.chainID]; found && len(next.jumps[d.chainID]) > 0 {
			r.damage("a rule of others before the jump of portmap takes every packet: -A %s", l)
		}
	}
}

// jumps compares the jumps in a chain of others. Where they stand in it is the business of whoever put others before
// them, as long as packets reach them.
func (r *reading) jumps(in chainID, have, want []rule) {
	for _, w := range want {
		if !slices.Contains(have, w) {
			r.damage("chain %s has lost its jump to %s: %s", in, w.chain, w)
		}
	}
	if len(have) > len(want) {
		r.damage("chain %s has more than one jump to %s", in, have[0].chain)
	}
}

// chain compares one chain rule by rule.
func (r *reading) chain(s *saved, want chain) {
	have, there := s.chains[want.id]
	switch {
	case s.foreign[want.id]:
		r.damage("%s", foreignText(want.id))
	case !there:
		r.damage("chain %s is gone", want.id)
	case len(have) < len(want.rules):
		r.damage("chain %s has lost a rule", want.id)
	case len(have) > len(want.rules):
		r.damage("chain %s has a rule that no mapping explains", want.id)
	case !equalRules(have, want.rules):
		r.damage("chain %s is not as portmap left it", want.id)
	}
	for i, w := range want.rules {
		if w.mapping < 0 {
			continue
		}
		r.want[w.mapping]++
		at := i
		if i >= len(have) || have[i].rule != w.rule {
			at = slices.IndexFunc(have, func(l line) bool { return l.rule == w.rule })
		}
		if at >= 0 {
			r.seen[w.mapping]++
			r.packets[w.mapping] += have[at].packets
		}
	}
}
