package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"portmap/internal/shell"
)

// ErrLocked says that the lock was not released in time.
var ErrLocked = errors.New("another portmap holds the lock")

// RefusedError says that a path is not followed, since another user could change where it leads, or that its target is
// not a suitable file.
type RefusedError struct {
	Part string // the file, link or folder on the path that is the reason
	Why  string // continues the sentence that Part begins
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

// DanglingLinkError says that a symbolic link on the path leads nowhere. The file may be on a disk that is not mounted,
// so it does not count as missing.
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

// ImmutableError says that an attribute of chattr(1) keeps even root from changing a file or folder.
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

// MountedError says that a file is mounted by itself in a read-only folder. So it cannot be replaced, and it cannot be
// written in place either, since the copy beside it cannot be written.
type MountedError struct{ Path string }

func (e *MountedError) Error() string {
	return e.Path + " is mounted by itself, in a folder that is read-only"
}

// Remedy returns what to do about it.
func (e *MountedError) Remedy() string {
	return "mount the folder " + filepath.Dir(e.Path) + " instead of the file"
}

// LeftoverError says that the leftover of an interrupted change could not be removed or completed. It is a warning.
type LeftoverError struct {
	Path string
	Err  error
}

func (e *LeftoverError) Error() string {
	return "what a change that was killed left behind stays: " + e.Path + ": " + e.Err.Error()
}

func (e *LeftoverError) Unwrap() error { return e.Err }

// UndoError says that the steps before a failure could not be undone: the state is not as before.
type UndoError struct {
	Cause error
	What  string // what could not be put back
	Err   error  // why
}

func (e *UndoError) Error() string {
	return e.Cause.Error() + "; and " + e.What + " could not be put back: " + e.Err.Error()
}

func (e *UndoError) Unwrap() []error { return []error{e.Cause, e.Err} }

// failed wraps an error with the operation and the path that the user knows, instead of the system call and the hidden
// name that failed. The errno stays reachable with errors.Is.
func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: bare(err)}
}

// bare removes the system call and the name from an error.
func bare(err error) error {
	switch e := err.(type) { //nolint:errorlint // only the outermost: an error from joinCleanup stays whole
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}

// joinCleanup adds to an error the error of the cleanup after it.
func joinCleanup(err, more error) error {
	switch {
	case more == nil:
		return err
	case err == nil:
		return more
	}
	return fmt.Errorf("%w; and %w", err, more)
}
