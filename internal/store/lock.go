package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// Lock is the right to change the file, until Close or the end of the process, however it ends. It is for one goroutine.
type Lock struct {
	file        *File
	place       place
	flock       *flock.Flock // nil on a read-only file system
	interrupted bool
	staged      *Staged // the last
	closed      bool
}

const (
	lockTimeout = 30 * time.Second
	firstPause  = time.Millisecond
	lastPause   = 10 * time.Millisecond
)

// Lock takes the lock, PATH.lock, and makes it and its folder where they are missing. It waits as long as LockTimeout says; the
// error is then [ErrLocked]. When ctx is done before that, the error is the cause of it.
//
// The lock file is never deleted: whoever had opened it before would then hold a lock on a file without a name, beside the next
// who makes a new one. Its mode is 0600, since flock(2) asks for no more than a file that can be opened: nobody else is to hold
// up root.
//
// On a read-only file system where there is no lock file and none can be made, the Lock is given without one, so that the file
// of an immutable host can be applied; Stage then fails with EROFS.
func (f *File) Lock(ctx context.Context) (*Lock, error) {
	l, err := f.lock(ctx)
	return l, failed("lock", f.Path, err)
}

func (f *File) lock(ctx context.Context) (*Lock, error) {
	p, err := resolve(f.Path)
	if err == nil && p.folder == nil {
		if err = makeFolder(filepath.Dir(p.path)); err == nil {
			p, err = resolve(f.Path)
		}
		if errors.Is(err, syscall.EROFS) {
			return &Lock{file: f, place: p}, nil
		}
	}
	if err == nil && p.folder == nil {
		err = fs.ErrNotExist // made, and gone again
	}
	if err != nil {
		return nil, err
	}
	held, err := acquire(ctx, p, f.timeout())
	if err != nil && !errors.Is(err, syscall.EROFS) {
		return nil, err
	}
	_, leftover := os.Lstat(p.newPath())
	return &Lock{file: f, place: p, flock: held, interrupted: leftover == nil}, nil
}

func (f *File) timeout() time.Duration {
	if f.LockTimeout == 0 {
		return lockTimeout
	}
	return f.LockTimeout
}

// acquire polls, quickly at first: a change takes some milliseconds, and many may wait for theirs. Waiting in flock(2) itself
// would be fairer, but could not be given up.
func acquire(ctx context.Context, p place, timeout time.Duration) (*flock.Flock, error) {
	path := p.lockPath()
	if info, err := os.Lstat(path); err == nil {
		if err := p.check(path, info); err != nil {
			return nil, err
		}
	}
	// The flags keep it from following a link, and from waiting for the writer of a FIFO, that came in between.
	held := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK), flock.SetPermissions(0o600))
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrLocked)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if ok, err := held.TryLock(); err != nil {
			return nil, err
		} else if ok {
			return held, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// makeFolder makes a folder, and those above it, with mode 0755 whatever the umask: everybody may list the mappings.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		if err = makeFolder(filepath.Dir(path)); err == nil {
			err = os.Mkdir(path, 0o755)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another one was quicker
	}
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return err
}

// Interrupted reports whether an earlier change died between Stage and Commit, and left PATH.new: what was to change together
// with the file may have changed without it. It stays so, for later Locks too, until a Commit or Settle.
func (l *Lock) Interrupted() bool { return l.interrupted }

// Settle forgets that an earlier change died: what it left undone has been put right without a change to the file.
func (l *Lock) Settle() error {
	waits := l.staged != nil && l.staged.state == waiting // then PATH.new is ours, and Commit or Discard ends it
	if l.interrupted && !waits {
		if err := removeIfThere(l.place.newPath()); err != nil {
			return failed("clean up", l.file.Path, err)
		}
	}
	l.interrupted = false
	return nil
}

// Close gives the lock back. What is staged and not committed is discarded; what is committed can't be reverted any more.
// To close again does nothing.
func (l *Lock) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.staged != nil {
		err = l.staged.release()
	}
	if l.flock != nil {
		err = and(err, failed("unlock", l.file.Path, l.flock.Close()))
	}
	return err
}
