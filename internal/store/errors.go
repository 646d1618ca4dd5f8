package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"portmap/internal/shell"
)

// ErrLocked says that the lock did not come free in time.
var ErrLocked = errors.New("another portmap holds the lock")

// RefusedError says that a path is not followed, since someone else could decide where it leads, or that what it leads
// to is not a file to be kept here.
type RefusedError struct {
	Part string // the file, link or folder on the way that is objected to
	Why  string // reads on after Part
}

func (e *RefusedError) Error() string { return "refused: " + e.Part + " " + e.Why }

const (
	everybody = "can be written by everybody"
	isFolder  = "is a folder"
	tooLarge  = "is larger than 64 MiB"
)

// Remedy returns what to do about it.
func (e *RefusedError) Remedy() string {
	switch e.Why {
	case everybody:
		return "sudo chmod o-w " + shell.Quote(e.Part)
	case isFolder, "is not a regular file", "is a link of /proc, not a file", tooLarge:
		return "name the file of mappings with --config"
	}
	return "keep the file in a folder that only root can write, such as /etc/portmap"
}

// DanglingLinkError says that a symbolic link on the way to the file leads nowhere. The file may be on a disk that is
// not mounted, so it is not taken for one that is missing.
type DanglingLinkError struct {
	Link   string // the first such link on the way
	Target string // where the file would be
}

func (e *DanglingLinkError) Error() string {
	return e.Link + " is a link that leads nowhere: " + e.Target + " is missing"
}

// Remedy returns what to do about it.
func (e *DanglingLinkError) Remedy() string {
	return "mount the disk that it is on; if it is to be a new file: sudo install -D -m 644 /dev/null " +
		shell.Quote(e.Target)
}

// ImmutableError says that a file or folder has an attribute of chattr(1) because of which it cannot be changed, by
// root either.
type ImmutableError struct {
	Path      string
	Attribute string // immutable or append-only
	letter    string // of the attribute, for chattr
}

func (e *ImmutableError) Error() string { return e.Path + " is " + e.Attribute }

// Remedy returns what to do about it.
func (e *ImmutableError) Remedy() string {
	return "sudo chattr -" + e.letter + " " + shell.Quote(e.Path)
}

// MountedError says that a file is mounted by itself, so that it cannot be replaced, in a folder that cannot be
// written, so that it cannot be written in place with a copy beside it either.
type MountedError struct{ Path string }

func (e *MountedError) Error() string {
	return e.Path + " is mounted by itself, in a folder that is read-only"
}

// Remedy returns what to do about it.
func (e *MountedError) Remedy() string {
	return "mount the folder " + filepath.Dir(e.Path) + " instead of the file"
}

// LeftoverError says that what a change that died left behind could not be taken away or put right. It is a warning.
type LeftoverError struct {
	Path string
	Err  error
}

func (e *LeftoverError) Error() string {
	return "what a change that was killed left behind stays: " + e.Path + ": " + e.Err.Error()
}

func (e *LeftoverError) Unwrap() error { return e.Err }

// UndoError says that what was done before a failure could not be undone: things are not as they were.
type UndoError struct {
	Cause error
	What  string // was to be put back
	Err   error  // why it was not
}

func (e *UndoError) Error() string {
	return e.Cause.Error() + "; and " + e.What + " could not be put back: " + e.Err.Error()
}

func (e *UndoError) Unwrap() []error { return []error{e.Cause, e.Err} }

// failed names a failure by what was being done to the file that the user knows, and not by the system call and the
// name beside it that failed. The errno stays reachable with errors.Is.
func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: bare(err)}
}

// bare takes the system call and the name from an error.
func bare(err error) error {
	switch e := err.(type) { //nolint:errorlint // only the outermost: what join added has more to say
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}

// join adds to an error what failed while cleaning up after it.
func join(err, more error) error {
	switch {
	case more == nil:
		return err
	case err == nil:
		return more
	}
	return fmt.Errorf("%w; and %w", err, more)
}
