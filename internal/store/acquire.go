package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

const (
	lockTimeout = 30 * time.Second
	firstPause  = time.Millisecond
	lastPause   = 10 * time.Millisecond
)

// Acquire takes a lock, until Close or the end of the process, however it ends. It makes the lock file and its folder
// if they are missing. A timeout of 0 stands for 30 seconds; less than 0 means not to wait. After the timeout the error
// is [ErrLocked]; if ctx is done first, it is the cause of that. Errors name the path, and paths are refused as those
// of a [File] are.
//
// A lock file is never deleted: a process that has opened it would then hold a lock on a file without a name, and the
// next one would lock a new file. Its mode is 0600, so that other users cannot take the lock: for flock(2) any open
// file is enough.
func Acquire(ctx context.Context, path string, timeout time.Duration) (io.Closer, error) {
	p, err := resolveMaking(path)
	if err != nil {
		return nil, failed("lock", path, err)
	}
	held, err := acquire(ctx, p, p.path, timeout)
	if err != nil {
		return nil, failed("lock", path, err)
	}
	return held, nil
}

// resolveMaking resolves a path, and makes its folder if that is missing.
func resolveMaking(path string) (place, error) {
	p, err := resolve(path)
	if err != nil || p.folder != nil {
		return p, err
	}
	if err := makeFolder(filepath.Dir(p.path)); err != nil {
		return p, err
	}
	p, err = resolve(path)
	if err == nil && p.folder == nil {
		err = fs.ErrNotExist // made, and deleted again
	}
	return p, err
}

func acquire(ctx context.Context, p place, path string, timeout time.Duration) (*flock.Flock, error) {
	if info, err := os.Lstat(path); err == nil {
		if err := p.check(path, info); err != nil {
			return nil, err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if timeout == 0 {
		timeout = lockTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, ErrLocked)
	defer cancel()
	return poll(ctx, path)
}

// poll tries to take the lock until it succeeds, quickly at first: a change takes some milliseconds, and many processes
// may wait. Waiting in flock(2) itself would be fairer, but could not be canceled.
func poll(ctx context.Context, path string) (*flock.Flock, error) {
	// With these flags a link that was made after the check is not followed, and the writer of a FIFO not waited for.
	held := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK),
		flock.SetPermissions(0o600))
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

// makeFolder makes a folder, and those above it, with mode 0755 whatever the umask: all users may list the mappings.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		if err = makeFolder(filepath.Dir(path)); err == nil {
			err = os.Mkdir(path, 0o755)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another process made it
	}
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	return err
}
