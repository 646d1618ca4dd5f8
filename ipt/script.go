package ipt

import (
	"fmt"
	"slices"
	"strconv"
)

// script is a list of changes to the tables of a family. It is one transaction a table, in the order of [ownTables]; in
// each, chains are declared first and deleted last. It names no rule of others.
type script []operation

// operation is one change.
type operation struct {
	kind  operationKind
	chain chainID
	at    int   // the place of a rule that is inserted, from 1 on
	line  *line // the rule
}

type operationKind uint8

const (
	declareChain operationKind = iota // makes a chain, or empties it
	appendRule
	insertRule
	deleteRule
	deleteChain
)

// restoreScript returns the script that leads from one state to another; nil if there is nothing to do.
func restoreScript(from, to state) (all script) {
	lines := 0
	for _, list := range to.chains {
		lines += len(list)
	}
	for _, t := range ownTables {
		var c changes
		if len(from.chains) == 0 && t == nat { // nearly all rules are new, and stand there
			c.fill = make(script, 0, lines)
		}
		c.chains(t, from, to)
		for _, h := range hooks() {
			if h.table == t {
				_, stopped := from.stopped[h.chainID]
				c.jumps(h.chainID, from.jumps[h.chainID], to.jumps[h.chainID], stopped)
			}
		}
		all = slices.Concat(all, c.declare, c.fill, c.remove)
	}
	return all
}

// changes is the part of a script that is about one table.
type changes struct{ declare, fill, remove script }

// chains adds what becomes of the chains of a table. Those that are in both states are changed rule by rule, so that
// the other rules in them go on counting.
func (c *changes) chains(t table, from, to state) {
	for _, id := range to.names {
		if id.table != t {
			continue
		}
		have, there := from.chains[id]
		want := to.chains[id]
		switch {
		case there && equalRules(have, want):
		case there && c.edit(id, have, want):
		default:
			c.renew(id, want)
		}
	}
	for _, id := range slices.Backward(from.names) {
		if _, stays := to.chains[id]; id.table == t && !stays {
			c.declare = append(c.declare, operation{kind: declareChain, chain: id})
			c.remove = append(c.remove, operation{kind: deleteChain, chain: id})
		}
	}
}

// renew makes a chain, or empties the one that is there, and fills it.
func (c *changes) renew(id chainID, want []line) {
	c.declare = append(c.declare, operation{kind: declareChain, chain: id})
	for i := range want {
		c.fill = append(c.fill, operation{kind: appendRule, chain: id, line: &want[i]})
	}
}

// edit takes rules out of a chain and puts others in between. If the rules that stay are in another order, it adds
// nothing and reports false.
func (c *changes) edit(id chainID, have, want []line) bool {
	wanted, there := setOf(want), setOf(have)
	var gone []*line
	var kept []rule
	for i := range have {
		if l := &have[i]; wanted[l.rule] {
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
		c.fill = append(c.fill, operation{kind: deleteRule, chain: id, line: l})
	}
	for _, i := range inserted { // ascending: all before it are in their places already
		c.fill = append(c.fill, operation{kind: insertRule, chain: id, at: i + 1, line: &want[i]})
	}
	return true
}

// jumps leaves in a hook the jumps that are wanted there, once each. One that is new, or is there more than once, is
// put at the beginning. One that is there stays in its place, so that no two tools fight for the first, unless no
// packet reaches it.
func (c *changes) jumps(hook chainID, have, want []rule, stopped bool) {
	stays := func(r rule) bool {
		return !stopped && slices.Contains(want, r) && !slices.Contains(have[slices.Index(have, r)+1:], r)
	}
	for _, r := range have {
		if !stays(r) {
			c.fill = append(c.fill, operation{kind: deleteRule, chain: hook, line: &line{rule: r}})
		}
	}
	for _, r := range slices.Backward(want) {
		if !slices.Contains(have, r) || !stays(r) {
			c.fill = append(c.fill, operation{kind: insertRule, chain: hook, at: 1, line: &line{rule: r}})
		}
	}
}

// text writes the script as input of `iptables-restore --noflush --counters`.
func (s script) text() []byte {
	b := make([]byte, 0, 128*len(s))
	for i := range s {
		if o := &s[i]; i == 0 || o.chain.table != s[i-1].chain.table {
			if i > 0 {
				b = append(b, "COMMIT\n"...)
			}
			b = fmt.Appendf(b, "*%s\n", o.chain.table)
		}
		b = append(s[i].append(b), '\n')
	}
	if len(s) > 0 {
		b = append(b, "COMMIT\n"...)
	}
	return b
}

// atLine returns a line of the text, counted from 1 on, and the operation that it stands for, if it stands for one. Of
// the last line, which ends the whole, it returns nothing.
func (s script) atLine(number int) (text string, o *operation) {
	line := 0
	for i := range s {
		heads := []string{"*" + string(s[i].chain.table)}
		switch {
		case i > 0 && s[i].chain.table == s[i-1].chain.table:
			heads = nil
		case i > 0:
			heads = append([]string{"COMMIT"}, heads...)
		}
		for _, head := range heads {
			if line++; line == number {
				return head, nil
			}
		}
		if line++; line == number {
			return string(s[i].append(nil)), &s[i]
		}
	}
	return "", nil
}

// append writes one line of the text.
func (o *operation) append(b []byte) []byte {
	if l := o.line; l != nil && o.kind != deleteRule && l.packets > 0 {
		b = fmt.Appendf(b, "[%d:%d] ", l.packets, l.bytes)
	}
	b = append(append(b, o.flag()...), o.chain.name...)
	switch o.kind {
	case declareChain:
		return append(b, " - [0:0]"...)
	case deleteChain:
		return b
	case insertRule:
		b = strconv.AppendInt(append(b, ' '), int64(o.at), 10)
	case deleteRule:
		if o.line.text != "" {
			return append(append(b, ' '), o.line.text...)
		}
	case appendRule:
	}
	return o.line.rule.append(append(b, ' '))
}

func (o *operation) flag() string {
	return [...]string{declareChain: ":", appendRule: "-A ", insertRule: "-I ", deleteRule: "-D ",
		deleteChain: "-X "}[o.kind]
}

// args returns the arguments by which one iptables command does the same; nil if there is none, or it would lose
// something: counters, or the wording of a rule that is to be deleted.
func (s script) args() []string {
	if len(s) != 1 || s[0].line == nil {
		return nil
	}
	o := &s[0]
	r := &o.line.rule
	if r.foreign != "" || o.kind != deleteRule && o.line.packets > 0 ||
		o.kind == deleteRule && o.line.text != "" && o.line.text != r.String() {
		return nil
	}
	args := []string{"-t", string(o.chain.table), o.flag()[:2], o.chain.name}
	if o.kind == insertRule {
		args = append(args, strconv.Itoa(o.at))
	}
	return append(args, r.args()...)
}
