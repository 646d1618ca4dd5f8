package ipt

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// saved is what the tables of a family hold of ours, as iptables-save printed it.
type saved struct {
	state
	foreign     map[chainID]bool     // chains named like ours with nothing of ours in them
	foreignJump map[chainID]ruleLine // by chain of ours: a rule of others that leads into it

	uses  map[chainID]int // by chain that [counted] is about: the rules in it, and those that lead to it
	rules map[chainID]int // the rules in it

	tables map[table]bool // that were read
}

// ruleLine is a rule in the chain where it stands, as one types it behind `iptables -t TABLE -D`.
type ruleLine struct {
	in   chainID
	rule rule
}

func (l ruleLine) String() string { return l.in.name + " " + l.rule.String() }

func newSaved() *saved {
	return &saved{state: newState(), foreign: map[chainID]bool{}, foreignJump: map[chainID]ruleLine{},
		uses: map[chainID]int{}, rules: map[chainID]int{}, tables: map[table]bool{}}
}

// reader reads what iptables-save prints.
type reader struct {
	labels *labels
	rules  ruleParser
	table  table
	saved  *saved
}

// parse reads the outputs of `iptables-save -c -t TABLE` of one family; nil for a table that is not there.
func parse(l *labels, outputs ...[]byte) (*saved, error) {
	r := &reader{labels: l, saved: newSaved()}
	for _, output := range outputs {
		if output == nil {
			continue
		}
		r.table = nat
		if err := r.read(string(output)); err != nil {
			return nil, err
		}
	}
	r.disown()
	return r.saved, nil
}

func (r *reader) read(output string) error {
	complete := whole(output)
	for len(output) > 0 {
		var text string
		text, output, _ = strings.Cut(output, "\n")
		switch {
		case strings.HasPrefix(text, "*"):
			r.table = table(text[1:])
			r.saved.tables[r.table] = true
		case strings.HasPrefix(text, ":"):
			name, _, _ := strings.Cut(text[1:], " ")
			id := chainID{r.table, name}
			if counted(id) {
				r.saved.uses[id] = 0
			}
			if id.own() {
				r.saved.names = append(r.saved.names, id)
				r.saved.chains[id] = nil
			}
		case strings.HasPrefix(text, "["):
			if err := r.line(text); err != nil {
				return err
			}
		case strings.Contains(text, "is incompatible") && r.without(text):
			return nil
		case strings.Contains(text, "is incompatible"):
			return &Error{Why: "the table " + string(r.table) +
				" holds rules that iptables cannot read: they were made by nft",
				Fix: "use that: sudo portmap apply --backend nft"}
		}
	}
	if !complete {
		return &Error{Why: "iptables-save printed only a part of a table", Fix: "do it again"}
	}
	return nil
}

// without reports whether a table that iptables cannot read is one that mappings can do without: if all of them are to
// be there, it is in the way of those that hide their target port only.
func (r *reader) without(text string) bool { return strings.Contains(text, "`"+string(filter)+"'") }

// line reads a line such as "[0:0] -A PREROUTING -p tcp ...".
func (r *reader) line(text string) error {
	counters, rest, found := strings.Cut(text[1:], "] -A ")
	name, rest, _ := strings.Cut(rest, " ")
	in := chainID{r.table, name}
	if !found {
		return fmt.Errorf("iptables-save printed %q", text)
	}
	rule := r.rules.parse(rest)
	r.saved.count(in, rule.leadsTo())
	if _, declared := r.saved.chains[in]; !declared {
		r.outside(in, rule, rest)
		return nil
	}
	packets, bytes, found2 := strings.Cut(counters, ":")
	p, err1 := strconv.ParseUint(packets, 10, 64)
	b, err2 := strconv.ParseUint(bytes, 10, 64)
	if !found2 || err1 != nil || err2 != nil {
		return fmt.Errorf("iptables-save printed %q", text)
	}
	l := line{rule: rule, text: rest, packets: p, bytes: b}
	if !r.labels.ours(in, &l.rule) {
		l.rule.foreign = rest
	}
	r.saved.chains[in] = append(r.saved.chains[in], l)
	return nil
}

// outside takes a rule in a chain of others: it may lead into one of ours, or keep all packets from those that do.
func (r *reader) outside(in chainID, rule rule, text string) {
	h := hookOf(in)
	if h != nil && len(r.saved.jumps[in]) < len(h.jumps) && endsChain(text) {
		rule.foreign = text
		r.saved.stopped[in] = ruleLine{in, rule}
		return
	}
	to := chainID{in.table, rule.leadsTo()}
	if !to.own() {
		return
	}
	if h != nil && slices.Contains(h.jumps, rule) {
		r.saved.jumps[in] = append(r.saved.jumps[in], rule)
		return
	}
	rule.foreign = text
	r.saved.foreignJump[to] = ruleLine{in, rule}
}

// endsChain reports whether a rule takes every packet, so that no later one sees any. One with a match is another
// tool's business with some packets.
func endsChain(text string) bool {
	switch text {
	case "-j ACCEPT", "-j RETURN", "-j DROP":
		return true
	}
	return false
}

// disown takes out the chains of others: those that hold rules, but none of ours. The jumps into them are not ours
// either.
func (r *reader) disown() {
	s := r.saved
	for _, id := range s.names {
		lines := s.chains[id]
		if len(lines) > 0 && !slices.ContainsFunc(lines, func(l line) bool { return l.rule.foreign == "" }) {
			s.foreign[id] = true
			delete(s.chains, id)
		}
	}
	s.names = slices.DeleteFunc(s.names, func(id chainID) bool { return s.foreign[id] })
	for in, jumps := range s.jumps {
		jumps = slices.DeleteFunc(jumps, func(r rule) bool { return s.foreign[chainID{in.table, r.chain}] })
		if s.jumps[in] = jumps; len(jumps) == 0 {
			delete(s.jumps, in)
		}
	}
}

// intruder returns a rule of others in a chain of ours, the first one.
func (s *saved) intruder(in func(chainID) bool) (ruleLine, bool) {
	for _, id := range s.names {
		if !in(id) {
			continue
		}
		for _, l := range s.chains[id] {
			if l.rule.foreign != "" {
				return ruleLine{id, l.rule}, true
			}
		}
	}
	return ruleLine{}, false
}

// empty reports whether there is nothing of ours.
func (s *saved) empty() bool { return len(s.chains) == 0 && len(s.jumps) == 0 }

// count notes a rule that iptables-save printed. It counts for its chain and for the one to which it leads, as in the
// kernel (net/netfilter/nf_tables_api.c, nf_tables_newrule and nft_verdict_init).
func (s *saved) count(in chainID, leadsTo string) {
	if _, declared := s.uses[in]; declared {
		s.uses[in]++
		s.rules[in]++
	}
	to := chainID{in.table, leadsTo}
	if _, declared := s.uses[to]; declared {
		s.uses[to]++
	}
}

// whole reports whether iptables-save printed all of a table. iptables-nft before 1.8.3 says that a table is not there.
func whole(output string) bool {
	return strings.Contains("\n"+output, "\n*") && strings.Contains(output, "\nCOMMIT\n") ||
		strings.Contains(output, "does not exist")
}
