package reconcile

import (
	"context"
	"errors"
	"fmt"

	"portmap/internal/finding"
	"portmap/internal/store"
	"portmap/rules"
)

// plan is a change of kernel and file that has been decided upon.
type plan struct {
	change  rules.Change
	content []byte // the new file
	save    bool   // whether the file changes at all
	aim     rules.Set
	asked   rules.Change // what becomes of the mappings that should be live; the kernel may have lost some before
	others  rules.Set    // what other files hold beside aim
	replace bool         // take the place of live mappings that no file has
	keepOld bool         // the file that is replaced is kept once
}

// commit carries a plan out, and returns what it came to in the kernel. Each step that fails undoes those before it.
func (h *Host) commit(
	ctx context.Context, lock *locks, p plan,
) (done rules.Change, warnings []finding.Finding, err error) {
	var staged *store.Staged
	if p.save {
		stage := lock.Stage
		if p.keepOld {
			stage = lock.StageKeepingOld
		}
		if staged, err = stage(p.content); err != nil {
			return done, nil, err
		}
	}
	done, err = h.toKernel(ctx, p)
	if err != nil {
		return done, nil, discard(staged, err)
	}
	if staged != nil {
		if err := staged.Commit(); err != nil {
			return done, nil, h.undo(ctx, done, err)
		}
	} else if err := lock.Settle(); err != nil { // the mappings are live all the same
		warnings = append(warnings, finding.Finding{ID: finding.ChangeLeftover, Text: err.Error()})
	}
	return done, append(warnings, h.applied(ctx, p, done)...), nil
}

// applied ends a change that is live, and returns warnings.
func (h *Host) applied(ctx context.Context, p plan, done rules.Change) (warnings []finding.Finding) {
	if m, ok := h.backend.(*moving); ok { // all is in one place now
		h.backend = m.Backend
		m.old.Close()
	}
	warnings = append(warnings, limits(h.backend, p.aim)...)
	if h.Forget != nil {
		if err := h.Forget(ctx, p.flows(done)); err != nil {
			warnings = append(warnings, notForgotten(err))
		}
	}
	return warnings
}

func discard(staged *store.Staged, err error) error {
	if staged == nil {
		return err
	}
	return errors.Join(err, staged.Discard())
}

// toKernel applies the change, and returns what it came to. Where the kernel holds something else than was believed, it is
// read, and the change is made to fit.
func (h *Host) toKernel(ctx context.Context, p plan) (rules.Change, error) {
	if p.change.Empty() {
		return p.change, nil
	}
	err := h.backend.Apply(ctx, p.change)
	if !errors.Is(err, rules.ErrDrift) {
		return p.change, err
	}
	live, err := h.backend.Live(ctx)
	if err != nil {
		return rules.Change{}, err
	}
	fitted, err := fit(p, live)
	if err != nil || fitted.Empty() {
		return fitted, err
	}
	return fitted, h.backend.Apply(ctx, fitted)
}

// fit makes a change that was meant for another state do what it was meant to do to this one, and no more. Mappings that
// only the kernel has stay. The error for one that is in the way is a [*rules.ConflictError].
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
		return rules.Change{Reset: true, Remove: mappings(live), Add: unite(p.aim, next.Mappings()).Mappings()}, nil
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

func (h *Host) undo(ctx context.Context, done rules.Change, cause error) error {
	if done.Empty() {
		return cause
	}
	if err := h.takeBack(context.WithoutCancel(ctx), done); err != nil {
		return &store.UndoError{Cause: cause, What: "the kernel", Err: err}
	}
	return cause
}

func (h *Host) takeBack(ctx context.Context, done rules.Change) error {
	if m, ok := h.backend.(*moving); ok {
		return m.back(ctx)
	}
	return h.backend.Apply(ctx, done.Inverse())
}

// toAim returns the change from what is live to what should be.
func toAim(live rules.Live, aim rules.Set) rules.Change {
	set, err := live.Set()
	if live.Damaged != "" || err != nil || aim.Len() == 0 && set.Len() > 0 {
		return rules.Change{Reset: true, Remove: mappings(live), Add: aim.Mappings()}
	}
	return set.Diff(aim)
}
