package ipt

import (
	"context"
	"slices"
	"strings"
)

// With many mappings iptables-save takes most of the time of a small change. A caller that knows the expected rules
// need list only the affected chains.

// chainRef is a chain of a family.
type chainRef struct {
	family int
	id     chainID
}

// chainState is what there is of a chain.
type chainState struct {
	there    bool
	comments []string // of its rules, in order; "" for a rule without
}

// listChains lists chains, by their comments.
func (b *Backend) listChains(ctx context.Context, t tools, looks ...chainRef) ([]chainState, error) {
	if t.variant == Legacy {
		return listLegacyChains(ctx, t, looks)
	}
	list := make([]chainState, len(looks))
	for i, l := range looks {
		var err error
		if list[i], err = b.tables.chain(families[l.family], l.id); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// listLegacyChains has iptables-legacy list the chains, all side by side: to print few rules takes half the time of
// printing all. What the table mangle holds beside owners is few rules, and listed once.
func listLegacyChains(ctx context.Context, t tools, looks []chainRef) ([]chainState, error) {
	list := make([]chainState, len(looks))
	commands := make([][]string, len(looks))
	by := make([]int, len(looks)) // the command that lists the chain
	for i, l := range looks {
		by[i] = i
		p := t.programs[l.family]
		if p.main == "" || !legacyTables(families[l.family], string(l.id.table)) {
			continue
		}
		commands[i] = []string{p.main, "-t", string(l.id.table), "-S"}
		if l.id.table != mangle || strings.HasPrefix(l.id.name, ownerChain) {
			commands[i] = append(commands[i], l.id.name)
		}
		by[i] = slices.IndexFunc(commands[:i+1], func(c []string) bool { return slices.Equal(c, commands[i]) })
		if by[i] < i {
			commands[i] = nil
		}
	}
	results := runAll(ctx, commands)
	var parser ruleParser
	for i, l := range looks {
		r := results[by[i]]
		switch {
		case commands[by[i]] == nil, r.err != nil &&
			strings.Contains(r.err.Error(), "No chain/target/match by that name"):
			continue
		case r.err != nil:
			return nil, r.err
		}
		for _, text := range strings.Split(string(r.output), "\n") {
			if text == "-N "+l.id.name {
				list[i].there = true
			} else if rule, ok := strings.CutPrefix(text, "-A "+l.id.name+" "); ok {
				list[i].comments = append(list[i].comments, parser.parse(rule).comment)
			}
		}
	}
	return list, nil
}
