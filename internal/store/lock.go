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
	held        *flock.Flock // nil where nothing can be written
	interrupted bool
	staged      *Staged // the last
	closed      bool
}

// Lock takes the lock, PATH.lock, as [Acquire] does. It waits as long as LockTimeout says.
//
// Where there is no lock file and none can be made, because the file system is read-only or the folder immutable, the
// Lock is given without one, so that the file of an immutable host can be applied; Stage then fails.
func (f *File) Lock(ctx context.Context) (*Lock, error) {
	l, err := f.lock(ctx)
	return l, failed("lock", f.Path, err)
}

func (f *File) lock(ctx context.Context) (*Lock, error) {
	p, err := reach(f.Path)
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

// Interrupted reports whether an earlier change died between Stage and Commit, and left its content beside the file:
// what was to change together with the file may have changed without it. It stays so, for later Locks too, until a
// Commit or Settle.
func (l *Lock) Interrupted() bool { return l.interrupted }

// Settle forgets that an earlier change died: what it left undone has been put right without a change to the file. It
// also mends a file that the earlier change left half written. The error is a [*LeftoverError], and a warning: the file
// is what Read returns, and the next Lock is Interrupted again.
func (l *Lock) Settle() error {
	l.interrupted = false
	waits := l.staged != nil && l.staged.state == waiting
	if !waits {
		if err := l.mend(); err != nil {
			return &LeftoverError{l.place.path, bare(err)}
		}
	}
	for _, path := range l.place.stagedPaths() {
		if waits && path == l.staged.path {
			continue // Commit or Discard ends it
		}
		if err := removeIfThere(path); err != nil {
			return &LeftoverError{path, bare(err)}
		}
	}
	return nil
}

// forget takes away the traces of earlier changes, after one that succeeded. One that stays makes the next change look
// closer, and no more.
func (l *Lock) forget() {
	l.interrupted = false
	for _, path := range l.place.stagedPaths() {
		_ = os.Remove(path)
	}
}

// Close gives the lock back. What is staged and not committed is discarded. To close again does nothing.
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
		err = join(err, failed("unlock", l.file.Path, l.held.Close()))
	}
	return err
}
