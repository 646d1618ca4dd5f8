package ipt

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"portmap/rules"
)

// iptables-nft-save exits with 0 even if the kernel did not answer all its questions: it prints no rules for a chain
// whose rules it did not get, and without the list of chains none of ours (1.8.9 and 1.8.11, iptables/nft-cache.c,
// nft_rule_list_update and fetch_chain_cache). When it cannot write, it prints nothing and exits with 0, as
// iptables-legacy-save does. So an output must hold a whole table, and what iptables-nft-save printed is compared with
// what nf_tables counts.

// attempts is how often a listing is read that others may be changing.
const attempts = 4

// read reads both families. What iptables-nft-save prints is taken only if nf_tables holds as much; others may have
// changed it in between.
func (b *Backend) read(ctx context.Context, t tools) (snapshot, error) {
	for range attempts {
		s, err := b.readOnce(ctx, t)
		part := false
		if err == nil && t.variant == NFTables {
			part, err = b.incomplete(s)
		}
		switch {
		case err != nil:
			return snapshot{}, err
		case !part:
			return s, nil
		}
	}
	return snapshot{},
		&Error{Why: fmt.Sprintf("%s-save printed a part of the rules that nf_tables holds, each time", t.variant),
			Fix: "do it again"}
}

// readOnce runs iptables-save and its twin, for each table, side by side.
func (b *Backend) readOnce(ctx context.Context, t tools) (snapshot, error) {
	s := snapshot{labels: newLabels(b.users)}
	var commands [len(families) * len(ownTables)][]string
	has, _ := t.has()
	for i, p := range t.programs {
		if !has.Has(families[i]) {
			continue
		}
		read := t.tablesToRead(families[i])
		for j, table := range ownTables {
			if slices.Contains(read, table) {
				commands[i*len(ownTables)+j] = []string{p.save, "-c", "-t", string(table)}
			}
		}
	}
	results := runAll(ctx, commands[:])
	for i := range families {
		if !has.Has(families[i]) {
			continue
		}
		var outputs [][]byte
		for _, r := range results[i*len(ownTables) : (i+1)*len(ownTables)] {
			if r.err != nil {
				return snapshot{}, r.err
			}
			outputs = append(outputs, r.output)
		}
		var err error
		if s.families[i], err = parse(s.labels, outputs...); err != nil {
			return snapshot{}, err
		}
	}
	return s, nil
}

// tablesToRead returns the tables of a family that may hold something of ours. Only mappings with --hide have chains in
// filter, and there the rules of others are: nf_tables says by one short list whether it has to be read. If it does not
// answer, the program is to say why.
func (t tools) tablesToRead(family rules.Families) (list []table) {
	if t.variant == Legacy {
		for _, table := range ownTables {
			if legacyTables(family, string(table)) {
				list = append(list, table)
			}
		}
		return list
	}
	held, err := chainUses(family)
	for _, table := range ownTables {
		inTable := func(id chainID) bool { return id.table == table && id.own() }
		if err != nil || table != filter || slices.ContainsFunc(slices.Collect(maps.Keys(held)), inTable) {
			list = append(list, table)
		}
	}
	return list
}

// incomplete reports whether there is a chain of which iptables-nft-save did not print as much as nf_tables holds.
func (b *Backend) incomplete(s snapshot) (bool, error) {
	for i, printed := range s.families {
		if printed == nil {
			continue
		}
		held, err := chainUses(families[i])
		if err != nil {
			return false, err
		}
		for _, id := range bothOf(slices.Collect(maps.Keys(held)), slices.Collect(maps.Keys(printed.uses))) {
			uses, listed := printed.uses[id]
			holds, there := held[id]
			if !printed.tables[id.table] && !id.own() {
				continue // it was not read, and has nothing of ours
			}
			if !id.own() {
				listed = there // iptables-nft-save prints a chain of the kernel's own also before it is there
			}
			if there == listed && uses == holds {
				continue
			}
			// An element of a map that leads into the chain counts as well, and iptables-nft-save does not print it.
			now, err := b.tables.chain(families[i], id)
			if err != nil || now.there != listed || len(now.comments) != printed.rules[id] {
				return true, err
			}
		}
	}
	return false, nil
}

// live reads a variant. What is damaged is read again, until two looks agree: an extension of which iptables-nft-save
// does not learn the revision is printed with options of another one (libxtables/xtables.c,
// xtables_fully_register_pending_match), and such a rule looks like one of others.
func (b *Backend) live(ctx context.Context, t tools) (rules.Live, error) {
	s, err := b.read(ctx, t)
	for range attempts {
		if err != nil {
			return rules.Live{}, err
		}
		live := s.live()
		live.Look = look{t.variant, s}
		if live.Damaged == "" {
			return live, nil
		}
		before := s
		if s, err = b.read(ctx, t); err == nil && s.equal(before) {
			live.Look = look{t.variant, s}
			s.nameForeign(&live, t)
			return live, nil
		}
	}
	if err == nil {
		err = &Error{Why: fmt.Sprintf("the rules of %s were different each time they were read", t.variant),
			Fix: "do it again"}
	}
	return rules.Live{}, err
}

// equal reports whether two looks saw the same, apart from counters.
func (s snapshot) equal(other snapshot) bool {
	return slices.EqualFunc(s.families[:], other.families[:], func(a, b *saved) bool {
		return a == b || a != nil && b != nil && maps.EqualFunc(a.chains, b.chains, equalRules) &&
			maps.EqualFunc(a.jumps, b.jumps, slices.Equal) && maps.Equal(a.foreign, b.foreign) &&
			maps.Equal(a.foreignJump, b.foreignJump) && maps.Equal(a.stopped, b.stopped)
	})
}
