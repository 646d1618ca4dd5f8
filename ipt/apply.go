package ipt

import (
	"context"
	"errors"
	"fmt"

	"portmap/rules"
)

// Apply does the whole change: one transaction a family, and when a later one fails, the earlier ones are taken back.
// Errors: a [*rules.UnsupportedError] before the kernel is asked, [rules.ErrDrift] where the change does not fit what is
// there, else an [*Error].
func (b *Backend) Apply(ctx context.Context, change rules.Change) error {
	for _, list := range [...][]rules.Mapping{change.Add, change.Remove} {
		if err := b.check(list); err != nil {
			return err
		}
	}
	have, err := b.recent(ctx)
	if err != nil {
		return err
	}
	next, err := after(have, change)
	if err != nil {
		return err
	}
	steps, err := plan(b.use, have, next)
	if err != nil {
		return err
	}
	if change.Reset && b.other != nil {
		rest, err := b.read(ctx, *b.other)
		if err != nil {
			return err
		}
		away, err := plan(*b.other, rest, nil)
		if err != nil {
			return err
		}
		steps = append(steps, away...)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.carryOut(context.WithoutCancel(ctx), steps) // what was begun is seen through to its end
}

// recent returns what was read last by the caller of Apply, or reads it.
func (b *Backend) recent(ctx context.Context) (snapshot, error) {
	if s := b.last; s != nil {
		b.last = nil
		return *s, nil
	}
	return b.read(ctx, b.use)
}

// check refuses mappings that cannot be, here or at all.
func (b *Backend) check(mappings []rules.Mapping) error {
	missing, why := b.Limits()
	for i := range mappings {
		m := &mappings[i]
		if err := supported(m); err != nil {
			return err
		}
		if missing.Has(m.Families()) {
			return &Error{Why: fmt.Sprintf("%s: %s", m.Spec(), why), Fix: "leave the mapping out, or install what is missing"}
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
	script []byte
}

// plan returns the steps that bring one variant from what it has to mappings.
func plan(t tools, have snapshot, next []rules.Mapping) ([]step, error) {
	var steps []step
	for i, s := range have {
		if s == nil {
			continue
		}
		chains := encode(next, families[i])
		for _, c := range chains {
			if s.foreign[c.name] {
				return nil, &Error{Why: fmt.Sprintf("a chain %s is there that is not portmap's", c.name),
					Fix: fmt.Sprintf("give it another name: %s -t nat -E %s NAME", t.programs[i].main, c.name)}
			}
		}
		before := s.state()
		if script := between(before, stateWith(chains, s)); script != nil {
			steps = append(steps, step{t, i, before, script})
		}
	}
	return steps, nil
}

// carryOut does the steps in turn. When one fails, it and those before it are taken back.
func (b *Backend) carryOut(ctx context.Context, steps []step) error {
	for i, s := range steps {
		err := b.restore(ctx, s.tools.programs[s.family].restore, s.script)
		if err == nil {
			continue
		}
		for ; i >= 0; i-- {
			if undo := b.takeBack(ctx, steps[i]); undo != nil {
				return errors.Join(err, fmt.Errorf("and what was done could not be taken back: %w", undo))
			}
		}
		return err
	}
	return nil
}

func (b *Backend) restore(ctx context.Context, program string, script []byte) error {
	_, err := run(ctx, program, script, "--noflush", "--counters", b.wait)
	return err
}

// takeBack looks first: of a program that was killed nobody knows how far it came.
func (b *Backend) takeBack(ctx context.Context, s step) error {
	now, err := b.read(ctx, s.tools)
	if err != nil {
		return err
	}
	script := between(now[s.family].state(), s.before)
	if script == nil {
		return nil
	}
	return b.restore(ctx, s.tools.programs[s.family].restore, script)
}
