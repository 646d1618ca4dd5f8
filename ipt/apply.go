package ipt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"portmap/rules"
)

// whole returns the steps of any change, after a look at everything that is there.
func (b *Backend) whole(ctx context.Context, change rules.Change) ([]step, error) {
	have, err := b.start(ctx, change)
	if err != nil {
		return nil, err
	}
	next, err := after(have, change)
	if err != nil {
		return nil, err
	}
	steps, err := plan(b.use, have, next, change.Reset)
	if err != nil || !change.Reset || b.other == nil {
		return steps, err
	}
	rest, err := b.read(ctx, *b.other)
	if notInUse(err) {
		return steps, nil
	} else if err != nil {
		return nil, err
	}
	away, err := plan(*b.other, rest, nil, true)
	return append(steps, away...), err
}

// look is what Live read of a variant, as a Change carries it.
type look struct {
	variant  Variant
	snapshot snapshot
}

// start returns what a change starts from, or reads it.
func (b *Backend) start(ctx context.Context, change rules.Change) (snapshot, error) {
	if from, ok := change.From.(look); ok && from.variant == b.use.variant {
		return from.snapshot, nil
	}
	return b.read(ctx, b.use)
}

// check refuses mappings that cannot be, here or at all.
func (b *Backend) check(mappings []rules.Mapping) error {
	has, why := b.use.has()
	for i := range mappings {
		m := &mappings[i]
		if err := supported(m); err != nil {
			return err
		}
		if m.Families()&has == 0 {
			return &Error{Why: fmt.Sprintf("%s: %s", m.Spec(), why),
				Fix: "leave the mapping out, or install what is missing"}
		}
	}
	return nil
}

// after returns the mappings that are live after a change.
func after(have snapshot, change rules.Change) ([]rules.Mapping, error) {
	if change.Reset {
		return change.Add, nil
	}
	live := have.mappings()
	rest := rules.Minus(live, change.Remove)
	if len(live)-len(rest) != len(change.Remove) {
		return nil, fmt.Errorf("%w (a mapping to remove is not there)", rules.ErrDrift)
	}
	set, err := rules.NewSet(rest...)
	if err == nil {
		set, err = set.Add(change.Add...)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", rules.ErrDrift, err)
	}
	return set.Mappings(), nil
}

// step is one transaction.
type step struct {
	tools  tools
	family int
	before state
	part   []chainID // where before is not all that was there: the chains that it is about
	script script
}

// plan returns the steps that bring one variant from what it has to mappings. With reset, nothing may be left that is
// not theirs.
func plan(t tools, have snapshot, next []rules.Mapping, reset bool) ([]step, error) {
	var wait sync.WaitGroup
	var planned [len(families)]step
	var errs [len(families)]error
	for i, s := range have.families {
		if s != nil {
			wait.Add(1)
			go func() {
				defer wait.Done()
				planned[i], errs[i] = planFamily(t, i, s, next, reset)
			}()
		}
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err // of both families in turn it would be said twice
		}
	}
	return slices.DeleteFunc(planned[:], func(s step) bool { return s.script == nil }), nil
}

func planFamily(t tools, family int, have *saved, next []rules.Mapping, reset bool) (step, error) {
	chains := encode(next, families[family])
	main := t.programs[family].main
	for _, c := range chains {
		if have.foreign[c.id] {
			return step{}, &Error{Why: foreignText(c.id), Fix: rename(main, c.id)}
		}
	}
	before, after := have.state, wanted(chains, have)
	changes := func(id chainID) bool {
		want, stays := after.chains[id]
		return reset || !stays || !equalRules(before.chains[id], want)
	}
	if l, found := have.intruder(changes); found {
		return step{},
			&Error{Why: fmt.Sprintf("a rule of others stands in %s, a chain of portmap's that is to change: -A %s",
				l.in, l),
				Fix: takeOut(main, l)}
	}
	for _, id := range before.names {
		l, leads := have.foreignJump[id]
		if _, stays := after.chains[id]; leads && !stays {
			return step{},
				&Error{Why: fmt.Sprintf("a rule of others leads into %s, a chain that is to go: -A %s", id, l),
					Fix: takeOut(main, l)}
		}
	}
	return step{tools: t, family: family, before: before, script: restoreScript(before, after)}, nil
}

// rename is what to type where a chain of others has a name of ours.
func rename(program string, id chainID) string {
	return fmt.Sprintf("give it another name: sudo %s -t %s -E %s NAME", program, id.table, id.name)
}

// takeOut is what to type to take out a rule of others.
func takeOut(program string, l ruleLine) string {
	return fmt.Sprintf("to take it out: sudo %s -t %s -D %s", program, l.in.table, l)
}

// carryOut does the steps in turn: side by side would be quicker, but iptables-nft 1.8.9 does not always get over
// another change between its look at the rules and its own. When one fails, it and all before it are taken back.
func (b *Backend) carryOut(ctx context.Context, steps []step) error {
	for i, s := range steps {
		if err := b.restore(ctx, s); err != nil {
			return b.takeBack(ctx, steps[:i+1], err)
		}
	}
	return nil
}

// restore carries a script out. A script of one rule needs no iptables-restore, which reads more of the rules than
// iptables does.
func (b *Backend) restore(ctx context.Context, s step) error {
	programs := s.tools.programs[s.family]
	if args := s.script.args(); args != nil {
		_, err := runScript(ctx, programs.main, s.script, nil, append([]string{b.wait}, args...)...)
		return err
	}
	_, err := runScript(ctx, programs.restore, s.script, s.script.text(), "--noflush", "--counters", b.wait)
	return err
}

// takeBack undoes the steps, the last one first, after a look at how far each came: a program that was killed does not
// tell. It returns the cause, and what went wrong with the undoing.
func (b *Backend) takeBack(ctx context.Context, steps []step, cause error) error {
	for _, s := range slices.Backward(steps) {
		now, err := b.read(ctx, s.tools)
		if err == nil {
			there := now.families[s.family].state
			if s.part != nil {
				there = now.families[s.family].only(s.part)
				there.jumps = s.before.jumps
			}
			if s.script = restoreScript(there, s.before); s.script != nil {
				err = b.restore(ctx, s)
			}
		}
		if err != nil {
			return errors.Join(cause, fmt.Errorf("and what was done could not be taken back: %w", err))
		}
	}
	return cause
}
