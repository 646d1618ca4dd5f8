package reconcile

import (
	"context"
	"errors"

	"portmap/internal/store"
)

// step is a part of a change.
type step struct {
	do   func(context.Context) error
	undo func(context.Context) error // takes back what do did; nil if there is nothing to take back
	what string                      // what undo puts back, for the error if it cannot
}

// carryOut does steps in order. If one fails, those before it are undone, the last one first. The error is that of the
// step; if something could not be put back, it is a [*store.UndoError].
func carryOut(ctx context.Context, steps []step) error {
	for i, s := range steps {
		if err := s.do(ctx); err != nil {
			return takeBack(context.WithoutCancel(ctx), steps[:i], err)
		}
	}
	return nil
}

func takeBack(ctx context.Context, done []step, cause error) error {
	for i := len(done) - 1; i >= 0; i-- {
		if done[i].undo == nil {
			continue
		}
		switch err := done[i].undo(ctx); {
		case err == nil:
		case done[i].what == "":
			cause = errors.Join(cause, err)
		default:
			cause = &store.UndoError{Cause: cause, What: done[i].what, Err: err}
		}
	}
	return cause
}
