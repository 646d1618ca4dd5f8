package savefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked says that another process holds the lock, and did not let go of it in time.
var ErrLocked = errors.New("another portmap is changing it")

// Lock is held while a change is made.
type Lock struct {
	file *File
	path string // where the file really is
	lock *flock.Flock
}

// Lock waits until no other process is changing the file. The error is [ErrLocked] after LockTimeout.
//
// The lock file is never deleted: another process may have it open already and would lock a file that has no name. It can be
// read by its owner alone, since whoever can open a file can lock it and so hold everyone up.
func (f *File) Lock(ctx context.Context) (*Lock, error) {
	path, err := f.resolve()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, syscall.EROFS) {
		return nil, withPath("create", filepath.Dir(path), err)
	}
	l := &Lock{file: f, path: path, lock: flock.New(path+".lock", flock.SetPermissions(0o600), flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW))}
	err = l.wait(ctx, f.LockTimeout)
	if errors.Is(err, syscall.EROFS) {
		return l, nil // nobody can change the file; to apply it at boot needs no lock
	}
	return l, err
}

// wait tries again and again, soon at first: flock(2) has no timeout.
func (l *Lock) wait(ctx context.Context, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	pause := 200 * time.Microsecond
	for {
		got, err := l.lock.TryLock()
		switch {
		case err != nil:
			return withPath("lock", l.file.Path, err)
		case got:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("lock %s: %w, for %s now", l.file.Path, ErrLocked, timeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(pause*3/2, 10*time.Millisecond)
		}
	}
}

// Interrupted reports whether an earlier change died between the kernel and the file.
func (l *Lock) Interrupted() bool {
	_, err := os.Lstat(l.path + ".new")
	return err == nil
}

// Settle clears away what an interrupted change left, when kernel and file agree again.
func (l *Lock) Settle() error {
	if !l.Interrupted() {
		return nil
	}
	if err := os.Remove(l.path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return withPath("remove", l.path+".new", err)
	}
	return nil
}

// Close lets the next one go on.
func (l *Lock) Close() error { return l.lock.Close() }
