package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrLocked says that the lock did not come free in time.
var ErrLocked = errors.New("another portmap holds the lock")

// RefusedError says that a path is not followed, since someone else could decide where it leads, or that what it leads to is
// not a file to be kept here.
type RefusedError struct {
	Part string // the file, link or folder on the way that is objected to
	Why  string // reads on after Part
}

func (e *RefusedError) Error() string { return "refused: " + e.Part + " " + e.Why }

const everybody = "can be written by everybody"

// Remedy returns what to do about it.
func (e *RefusedError) Remedy() string {
	switch e.Why {
	case everybody:
		return "sudo chmod o-w " + e.Part
	case "is a folder", "is not a regular file", "is a link of /proc, not a file", "is larger than 64 MiB":
		return "name the file of mappings with --config"
	}
	return "keep the file in a folder that only root can write, such as /etc/portmap"
}

// failed names a failure by what was being done to the file that the user knows, and not by the system call and the name beside
// it that failed. The errno stays reachable with errors.Is.
func failed(op, path string, err error) error {
	switch e := err.(type) { //nolint:errorlint // only the outermost: an error that was joined to another by and has more to say
	case nil:
		return nil
	case *fs.PathError:
		err = e.Err
	case *os.LinkError:
		err = e.Err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// and adds to an error what failed while cleaning up after it.
func and(err, more error) error {
	switch {
	case more == nil:
		return err
	case err == nil:
		return more
	}
	return fmt.Errorf("%w; and %w", err, more)
}
