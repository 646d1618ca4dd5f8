package rundir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"portmap/internal/store"
)

// Lock is the right to change the packet rules of a network namespace. Commands with different files hold different
// file locks, but change one kernel.
type Lock struct{ held io.Closer }

// Lock takes the lock, until Close or the end of the process, however it ends. Timeout and errors are those of
// [store.Acquire]. A caller that needs the lock of a file, too, takes this one first.
//
// If no lock file can be made, because the file system is read-only or we are not the root of this host, the Lock
// holds nothing. If the name of the namespace cannot be found out, that is an error: others may hold its lock.
func (d Dir) Lock(ctx context.Context, timeout time.Duration) (*Lock, error) {
	switch {
	case d.err != nil:
		return nil, fmt.Errorf("name the network namespace: %w", d.err)
	case d.name == "":
		return &Lock{}, nil
	}
	held, err := store.Acquire(ctx, d.path("lock"), timeout)
	switch {
	case err == nil:
		return &Lock{held}, nil
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission), errors.As(err, new(*store.RefusedError)):
		return &Lock{}, nil
	}
	return nil, err
}

// Held reports whether the lock keeps others out.
func (l *Lock) Held() bool { return l.held != nil }

// Close releases the lock.
func (l *Lock) Close() error {
	if l.held == nil {
		return nil
	}
	return l.held.Close()
}
