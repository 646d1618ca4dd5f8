package store

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/gofrs/flock"
)

// Lock is the right to change the file, until Close or the end of the process, however it ends. It is for one
// goroutine.
type Lock struct {
	file        *File
	place       place
	held        *flock.Flock // nil if the folder cannot be written
	interrupted bool
	staged      *Staged // the last one
	closed      bool
}

// Lock takes the lock, PATH.lock, as [Acquire] does. It waits as long as LockTimeout says.
//
// If there is no lock file and none can be made, because the file system is read-only or the folder immutable, Lock
// succeeds without one, so that the file of an immutable host can be applied; Stage then fails.
func (f *File) Lock(ctx context.Context) (*Lock, error) {
	l, err := f.lock(ctx)
	return l, failed("lock", f.Path, err)
}

func (f *File) lock(ctx context.Context) (*Lock, error) {
	p, err := resolveMaking(f.Path)
	if errors.Is(err, syscall.EROFS) {
		return &Lock{file: f, place: p}, nil
	}
	if err != nil {
		return nil, err
	}
	held, err := acquire(ctx, p, p.lockPath(), f.LockTimeout)
	if err != nil && !errors.Is(err, syscall.EROFS) && (!errors.Is(err, syscall.EPERM) || !p.fixedFolder()) {
		return nil, err
	}
	return &Lock{file: f, place: p, held: held, interrupted: p.interrupted()}, nil
}

// Interrupted reports whether an earlier change was killed between Stage and Commit, and left its content beside the
// file. The kernel may then have changed without the file. It stays true, for later Locks too, until a Commit or
// Settle.
func (l *Lock) Interrupted() bool { return l.interrupted }

// Settle removes the leftovers of an interrupted change. The caller has made the rest match the file. Settle also
// completes a file that is half written. The error is a [*LeftoverError], and a warning: the file is what Read returns,
// and the next Lock is Interrupted again.
func (l *Lock) Settle() error {
	l.interrupted = false
	waits := l.staged != nil && l.staged.state == waiting
	if !waits {
		if err := l.repair(); err != nil {
			return &LeftoverError{l.place.path, bare(err)}
		}
	}
	for _, path := range l.place.stagedPaths() {
		if waits && path == l.staged.path {
			continue // Commit or Discard removes it
		}
		if err := removeIfThere(path); err != nil {
			return &LeftoverError{path, bare(err)}
		}
	}
	return nil
}

// removeLeftovers removes the leftovers of earlier changes after one that succeeded. If one stays, the next change only
// checks more.
func (l *Lock) removeLeftovers() {
	l.interrupted = false
	for _, path := range l.place.stagedPaths() {
		_ = os.Remove(path)
	}
}

// Close releases the lock, and discards staged content that was not committed. A second Close does nothing.
func (l *Lock) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.staged != nil {
		err = l.staged.release()
	}
	if l.held != nil {
		err = joinCleanup(err, failed("unlock", l.file.Path, l.held.Close()))
	}
	return err
}
