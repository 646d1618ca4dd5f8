package ipt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// small returns the steps of a change that inserts and deletes rules of its own mappings in a few chains, which are as
// they should be. It reports false where the change is another, or the chains are: then everything has to be looked at.
func (b *Backend) small(ctx context.Context, change rules.Change) ([]step, bool, error) {
	changed := slices.Concat(change.Remove, change.Add)
	if change.Reset || change.Before == nil || len(changed) > 8 || len(rules.Minus(change.Remove, change.Before)) > 0 {
		return nil, false, nil // what only the kernel has is in no chain that is known
	}
	after := append(rules.Minus(change.Before, change.Remove), change.Add...)
	if err := noClash(after, change.Add); err != nil {
		return nil, false, err
	}
	gone, come := commentsOf(change.Remove), commentsOf(change.Add)
	nothing := newSaved()
	var steps []step
	var looks []chainRef
	var believed []chainState
	has, _ := b.use.has()
	for i, family := range families {
		if !has.Has(family) {
			continue
		}
		from := wanted(encodeNear(change.Before, changed, family), nothing)
		to := wanted(encodeNear(after, changed, family), nothing)
		if !maps.EqualFunc(from.jumps, to.jumps, slices.Equal) {
			return nil, false, nil
		}
		for _, id := range bothOf(from.names, to.names) {
			have, want := from.chains[id], to.chains[id]
			_, known := from.chains[id]
			if _, stays := to.chains[id]; known == stays && equalRules(have, want) {
				continue
			}
			if !allOf(have, want, gone) || !allOf(want, have, come) {
				return nil, false, nil // others move to another chain, and their counters with them
			}
			if slices.ContainsFunc(looks, func(l chainRef) bool { return l.id == id }) {
				continue // the families differ only after a change that died half way, and then everything is looked at
			}
			looks, believed = append(looks, chainRef{i, id}), append(believed, chainState{known, comments(have)})
		}
		if script := restoreScript(from, to); script != nil {
			steps = append(steps, step{tools: b.use, family: i, before: from, part: slices.Concat(from.names, to.names),
				script: script})
		}
	}
	if len(looks) > 8 {
		return nil, false, nil
	}
	found, err := b.listChains(ctx, b.use, looks...)
	return steps, err == nil && slices.EqualFunc(found, believed, func(a, b chainState) bool {
		return a.there == b.there && slices.Equal(a.comments, b.comments)
	}), err
}

// bothOf returns the chains of two lists, each once.
func bothOf(a, b []chainID) []chainID {
	list := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(a, id) {
			list = append(list, id)
		}
	}
	return list
}

func comments(lines []line) []string {
	var list []string
	for i := range lines {
		list = append(list, lines[i].rule.comment)
	}
	return list
}

// noClash checks mappings that were added to others, which are known to go together.
func noClash(all, added []rules.Mapping) error {
	near := slices.DeleteFunc(slices.Clone(all), func(m rules.Mapping) bool {
		return !slices.ContainsFunc(added, func(a rules.Mapping) bool {
			return a.ListenPorts().Overlaps(m.ListenPorts())
		})
	})
	if _, err := rules.NewSet(near...); err != nil {
		return fmt.Errorf("%w (%w)", rules.ErrDrift, err)
	}
	return nil
}

// commentsOf returns the comments of the rules that mappings have; those of the rules that lead to others are "".
func commentsOf(mappings []rules.Mapping) map[string]bool {
	set := map[string]bool{"": true, dropComment: true}
	for i := range mappings {
		set[ruletext.Comment(mappings[i].String(), maxComment)] = true
		for _, note := range notes(&mappings[i]) {
			set[note] = true
		}
	}
	return set
}

// allOf reports whether the lines that are in one list and not in the other all have one of these comments.
func allOf(lines, less []line, comments map[string]bool) bool {
	other := setOf(less)
	return !slices.ContainsFunc(lines, func(l line) bool { return !other[l.rule] && !comments[l.rule.comment] })
}
