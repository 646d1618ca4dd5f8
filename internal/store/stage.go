package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Staged is a new content that is safe on the disk, in PATH.new, and waits to become the file.
type Staged struct {
	lock     *Lock
	previous *os.File    // the file as it was, held open so that it can be put back; nil when there was none
	was      fs.FileInfo // of previous
	state    state
}

type state int

const (
	waiting   state = iota
	committed       // the file has the new content
	over            // discarded, reverted or failed
)

// Stage writes the content beside the file, as it will be: with the mode (without set-id bits) and the owner of the present
// file, or 0644 and ours where there is none. Access-control lists and other extended attributes are not carried over. It is
// on the disk when Stage returns; so a disk or a quota that is full shows here, and then nothing is left behind. The content
// may be what the file holds already. A second Stage takes the place of the first.
func (l *Lock) Stage(content []byte) (*Staged, error) {
	s, err := l.stage(content)
	return s, failed("write", l.file.Path, err)
}

func (l *Lock) stage(content []byte) (*Staged, error) {
	switch {
	case l.closed:
		return nil, fs.ErrClosed
	case l.flock == nil:
		return nil, syscall.EROFS
	case len(content) > MaxSize:
		return nil, syscall.EFBIG
	}
	if l.staged != nil {
		if err := l.staged.release(); err != nil {
			return nil, err
		}
	}
	previous, was, err := l.place.open()
	if err != nil {
		return nil, err
	}
	s := &Staged{lock: l, previous: previous, was: was}
	if err := l.write(content, was); err != nil {
		return nil, and(err, s.end())
	}
	l.staged = s
	return s, nil
}

// write makes PATH.new. Its name is a fixed one, so that those who are killed leave one file behind and not many; what is found
// under it is not written through but taken away, be it a link or someone else's.
func (l *Lock) write(content []byte, like fs.FileInfo) error {
	path := l.place.newPath()
	if err := removeIfThere(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = fill(file, content, like)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return and(err, l.drop())
	}
	return nil
}

func fill(file *os.File, content []byte, like fs.FileInfo) error {
	if _, err := file.Write(content); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if like != nil {
		mode = like.Mode().Perm()
		if err := giveTo(file, entryOf(like)); err != nil {
			return err
		}
	}
	if err := file.Chmod(mode); err != nil { // the umask has no say
		return err
	}
	return file.Sync()
}

// giveTo changes the owner only where it is another: an ordinary user may not even ask for what is so already, where a folder's
// set-group-ID bit gave the file its group.
func giveTo(file *os.File, like entry) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if e := entryOf(info); e.uid == like.uid && e.gid == like.gid {
		return nil
	}
	return file.Chown(int(like.uid), int(like.gid))
}

// drop takes PATH.new away. Where an earlier change had left one, an empty one stays: the trace of it must not be lost with a
// change that failed as well.
func (l *Lock) drop() error {
	if l.interrupted {
		return os.Truncate(l.place.newPath(), 0)
	}
	return removeIfThere(l.place.newPath())
}

// Commit makes the new content the file, in one step: whoever reads sees the old or the new one. When it returns the new one
// is on the disk. If that fails the old content is there as before (or no file, when there was none); should even that not have
// succeeded, the error says so.
func (s *Staged) Commit() error {
	if s.state != waiting {
		return failed("write", s.lock.file.Path, fs.ErrClosed)
	}
	system := s.lock.file.system()
	if err := system.rename(s.lock.place.newPath(), s.lock.place.path); err != nil {
		return and(failed("write", s.lock.file.Path, err), s.Discard())
	}
	s.state = committed
	if err := system.syncFolder(filepath.Dir(s.lock.place.path)); err != nil {
		err = failed("write", s.lock.file.Path, err)
		if back := s.putBack(); back != nil {
			return fmt.Errorf("%w; and the old content could not be put back: %w", err, back)
		}
		return err
	}
	s.lock.interrupted = false
	return nil
}

// Discard drops the new content. After Commit it does nothing.
func (s *Staged) Discard() error {
	if s.state != waiting {
		return nil
	}
	return failed("discard", s.lock.file.Path, and(s.lock.drop(), s.end()))
}

// Revert undoes Commit: the file gets its old content, mode and owner back, or goes away when there was none. Before Commit it
// is the same as Discard, and a second time, or after the lock is closed, it is an error.
func (s *Staged) Revert() error {
	switch s.state {
	case waiting:
		return s.Discard()
	case over:
		return failed("revert", s.lock.file.Path, fs.ErrClosed)
	}
	err := s.putBack()
	if err == nil {
		err = s.lock.file.system().syncFolder(filepath.Dir(s.lock.place.path))
	}
	return failed("revert", s.lock.file.Path, err)
}

// putBack works from the open file, which the rename took only the name from. (Links to a file without a name can't be made
// again, linkat(2); a second name from the beginning would be left behind by those who are killed.)
func (s *Staged) putBack() error {
	path := s.lock.place.path
	if s.previous == nil {
		s.state = over
		return removeIfThere(path)
	}
	content, err := contentOf(s.previous, s.was)
	if err != nil {
		return err
	}
	if err := s.lock.write(content, s.was); err != nil {
		return err
	}
	if err := s.lock.file.system().rename(s.lock.place.newPath(), path); err != nil {
		return and(err, s.lock.drop())
	}
	return s.end()
}

func (s *Staged) release() error { return and(s.Discard(), s.end()) }

// end lets go of the old file.
func (s *Staged) end() error {
	s.state = over
	if s.previous == nil {
		return nil
	}
	previous := s.previous
	s.previous = nil
	return previous.Close()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncFolder makes the names in a folder durable. A file system that can't do this for folders says EINVAL (fsync(2)).
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
