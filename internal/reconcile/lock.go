package reconcile

import (
	"context"
	"errors"

	"portmap/internal/rundir"
	"portmap/internal/store"
)

// locks are the right to change both kernel and file. Lock is nil for a file that no command can change.
type locks struct {
	*store.Lock
	kernel *rundir.Lock
}

// interrupted reports whether an earlier change died; without locks, in a dry run, that is not known.
func (l *locks) interrupted() bool { return l != nil && l.Lock != nil && l.Interrupted() }

func (l *locks) Close() error {
	if l.Lock == nil {
		return l.kernel.Close()
	}
	return errors.Join(l.Lock.Close(), l.kernel.Close())
}

// lock takes the kernel's lock first: those with another file wait for it, too.
func (h *Host) lock(ctx context.Context, dryRun bool) (*locks, error) {
	if dryRun {
		return nil, nil
	}
	kernel, err := h.Run.Lock(ctx, h.File.LockTimeout)
	if err != nil {
		return nil, err
	}
	file, err := h.File.Lock(ctx)
	if err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	return &locks{file, kernel}, nil
}

// lockForRepair locks kernel and file. A file whose place is refused is not locked when it is left as it is: no command
// can change it either.
func (h *Host) lockForRepair(ctx context.Context, keep bool) (*locks, error) {
	kernel, err := h.Run.Lock(ctx, h.File.LockTimeout)
	if err != nil {
		return nil, err
	}
	file, err := h.File.Lock(ctx)
	if err == nil {
		return &locks{file, kernel}, nil
	}
	if keep && errors.As(err, new(*store.RefusedError)) {
		return &locks{nil, kernel}, nil
	}
	return nil, errors.Join(err, kernel.Close())
}
