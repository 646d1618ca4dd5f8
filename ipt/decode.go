package ipt

import (
	"fmt"
	"slices"

	"portmap/rules"
)

// families are the address families, each with a table of its own, in the order in which they are changed.
var families = [...]rules.Families{rules.IPv4, rules.IPv6}

// snapshot is what one variant of iptables holds of ours: by family, in the order of [families]. A family that the host
// does not have is nil.
type snapshot [len(families)]*saved

func (s snapshot) empty() bool {
	for _, family := range s {
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
	for _, family := range s {
		if family == nil {
			continue
		}
		for name, lines := range family.chains {
			for _, l := range lines {
				switch comment := commentOf(l.text); {
				case name == textChain:
					pieces = append(pieces, comment) // of a temporary mapping the whole text, which its rules have, too
				case comment != "":
					labels[comment] = true
				}
			}
		}
	}
	texts := rules.JoinLabels(pieces)
	var parser rules.Parser
	found := make([]rules.Mapping, 0, len(labels))
	for label := range labels {
		text := label
		if label[0] == '~' {
			text = texts[label]
		}
		m, err := parser.Parse(rules.Words(text))
		if err == nil && m.String() == text && supported(&m) == nil {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, rules.Compare)
	return found
}

// live holds what is there against what should be, if the mappings that the comments name are live.
func (s snapshot) live() rules.Live {
	mappings := s.mappings()
	r := reading{mappings: mappings, want: make([]int, len(mappings)), seen: make([]int, len(mappings)), packets: make([]uint64, len(mappings))}
	for i, family := range s {
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
	expected := make(map[string]bool, len(want))
	for _, c := range want {
		expected[c.name] = true
		r.chain(s, c)
	}
	for _, name := range s.names {
		if !expected[name] {
			r.damage("chain %s is left over", name)
		}
	}
	for _, door := range doors {
		switch jumps := s.jumps[door]; {
		case !expected[rootChain] && len(jumps) > 0, len(jumps) > 1:
			r.damage("chain %s has more than one jump to %s", door, rootChain)
		case expected[rootChain] && (len(jumps) == 0 || !same(jumps[0], jump)):
			r.damage("chain %s has lost its jump to %s", door, rootChain)
		}
	}
}

// chain compares one chain rule by rule.
func (r *reading) chain(s *saved, want chain) {
	have, there := s.chains[want.name]
	if !there {
		r.damage("chain %s is gone", want.name)
	}
	for i, w := range want.rules {
		if w.mapping >= 0 {
			r.want[w.mapping]++
		}
		at := i
		if i >= len(have) || !same(have[i].text, w.text) {
			if at = slices.IndexFunc(have, func(l line) bool { return same(l.text, w.text) }); there {
				r.damage("chain %s is not as portmap left it", want.name)
			}
		}
		if at < 0 {
			continue
		}
		if w.mapping >= 0 {
			r.seen[w.mapping]++
			r.packets[w.mapping] += have[at].packets
		}
	}
	if there && len(have) > len(want.rules) {
		r.damage("chain %s has a rule that no mapping explains", want.name)
	}
}
