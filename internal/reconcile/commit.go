package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"portmap/internal/finding"
	"portmap/internal/store"
	"portmap/rules"
)

// plan is a change of kernel and file that has been decided upon.
type plan struct {
	change  rules.Change
	content []byte // the new file
	save    bool   // whether the file changes at all
	desired rules.Set
	asked   rules.Change // what becomes of the mappings that should be live; the kernel may have lost some before
	others  rules.Set    // what other files hold beside the desired ones
	replace bool         // take the place of live mappings that no file has
	keepOld bool         // the file that is replaced is kept once
	lenient bool         // a switch that cannot be set is a warning
	from    kernel       // what the change starts from; not read if the file is enough
}

// commit carries a plan out, and returns what it came to in the kernel.
func (h *Host) commit(ctx context.Context, lock *locks, p plan) (done rules.Change, warnings []finding.Finding,
	err error) {
	steps := h.withSwitches(p, h.kernelSteps(p, &done), &warnings)
	if p.save {
		steps = saving(lock, p, steps)
	}
	if err := carryOut(ctx, steps); err != nil {
		return rules.Change{}, nil, err
	}
	if !p.save {
		if err := lock.Settle(); err != nil { // the mappings are live all the same
			warnings = append(warnings, finding.Finding{ID: finding.ChangeLeftover, Text: err.Error()})
		}
	}
	return done, append(warnings, h.applied(ctx, p, done)...), nil
}

// saving puts steps between the two that change the file: the new one is on the disk before they begin, and takes the
// old one's place behind them.
func saving(lock *locks, p plan, steps []step) []step {
	var staged *store.Staged
	stage := step{
		do: func(context.Context) (err error) {
			if p.keepOld {
				staged, err = lock.StageKeepingOld(p.content)
			} else {
				staged, err = lock.Stage(p.content)
			}
			return err
		},
		undo: func(context.Context) error { return staged.Discard() },
	}
	commit := step{do: func(context.Context) error { return staged.Commit() }}
	return slices.Concat([]step{stage}, steps, []step{commit})
}

// kernelSteps are the steps that change packet filters: the one in use first, so that there is no moment without rules.
// Done is what they come to.
func (h *Host) kernelSteps(p plan, done *rules.Change) []step {
	if h.moves() {
		*done = p.change
		return h.movingSteps(p)
	}
	return []step{{
		do: func(ctx context.Context) (err error) {
			*done, err = h.toKernel(ctx, p)
			return err
		},
		undo: func(ctx context.Context) error {
			if done.Empty() {
				return nil
			}
			return h.filter.Apply(ctx, done.Inverse())
		},
		what: "the kernel",
	}}
}

// movingSteps make all mappings live in the packet filter in use, and none in the others.
func (h *Host) movingSteps(p plan) []step {
	first := p.from.each[0]
	changes := []rules.Change{{Reset: true, Remove: mappings(first), Add: p.change.Add, From: first.Look}}
	filters := []rules.Backend{h.filter.Filter}
	for i, from := range h.filter.From {
		filters = append(filters, from)
		live := p.from.each[i+1]
		changes = append(changes, rules.Change{Reset: true, Remove: mappings(live), From: live.Look})
	}
	steps := make([]step, 0, len(filters))
	for i := range filters {
		steps = append(steps, step{
			do:   func(ctx context.Context) error { return filters[i].Apply(ctx, changes[i]) },
			undo: func(ctx context.Context) error { return filters[i].Apply(ctx, changes[i].Inverse()) },
			what: "what was there",
		})
	}
	return steps
}

// applied ends a change that is live, and returns warnings.
func (h *Host) applied(ctx context.Context, p plan, done rules.Change) (warnings []finding.Finding) {
	for _, from := range h.filter.From { // all is in one place now
		_ = from.Close()
	}
	h.filter.From = nil
	warnings = append(warnings, h.limits(p.desired)...)
	if h.Forget != nil {
		if err := h.Forget(ctx, p.flows(done)); err != nil {
			warnings = append(warnings, notForgotten(err))
		}
	}
	return warnings
}

// toKernel applies the change, and returns what it came to. Where the kernel holds something else than was believed, it
// is read, and the change is made to fit.
func (h *Host) toKernel(ctx context.Context, p plan) (rules.Change, error) {
	if p.change.Empty() {
		return p.change, nil
	}
	p.change.From = p.from.Look
	err := h.filter.Apply(ctx, p.change)
	if !errors.Is(err, rules.ErrDrift) {
		return p.change, err
	}
	live, err := h.filter.Live(ctx)
	if err != nil {
		return rules.Change{}, err
	}
	fitted, err := fit(p, live)
	if err != nil || fitted.Empty() {
		return fitted, err
	}
	fitted.From = live.Look
	return fitted, h.filter.Apply(ctx, fitted)
}

// fit makes a change that was meant for another state do what it was meant to do to this one, and no more. Mappings
// that only the kernel has stay. The error for one that is in the way is a [*rules.ConflictError].
func fit(p plan, live rules.Live) (rules.Change, error) {
	set, err := live.Set()
	damaged := live.Damaged != "" || err != nil
	if err != nil {
		set = union(rules.Set{}, live)
	}
	next, replaced, err := set.Remove(p.change.Remove...).Replace(p.change.Add...)
	if err != nil {
		return rules.Change{}, err
	}
	for i, old := range replaced {
		if len(old) > 0 && !p.replace {
			_, err := rules.NewSet(old[0], p.change.Add[i])
			return rules.Change{}, fmt.Errorf("%w, which is live and in no file", err)
		}
	}
	if damaged {
		return rules.Change{Reset: true, Remove: mappings(live), Add: unite(p.desired, next.Mappings()).Mappings()}, nil
	}
	return set.Diff(next), nil
}

func mappings(live rules.Live) []rules.Mapping {
	list := make([]rules.Mapping, 0, len(live.Mappings))
	for i := range live.Mappings {
		list = append(list, live.Mappings[i].Mapping)
	}
	return list
}

// changeTo returns the change from what is live to what should be.
func changeTo(live rules.Live, desired rules.Set) rules.Change {
	set, err := live.Set()
	if live.Damaged != "" || err != nil || desired.Len() == 0 && set.Len() > 0 {
		return rules.Change{Reset: true, Remove: mappings(live), Add: desired.Mappings()}
	}
	return set.Diff(desired)
}
