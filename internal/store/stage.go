package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Staged is a new content that is on the disk, beside the file, and waits for Commit.
type Staged struct {
	lock     *Lock
	path     string   // of the new content
	content  []byte   // for a file that is written in place
	previous *os.File // the old file, open so that it can be put back; nil if there was none
	keepsOld bool     // previous becomes PATH.old
	inPlace  bool     // the file cannot be replaced
	state    state
}

type state int

const (
	waiting   state = iota
	committed       // the file has the new content
	finished        // discarded or failed
)

// Stage writes the content beside the file, with the mode (without set-id bits), the owner, the access-control list and
// the other extended attributes of the present file, or 0644 and our owner if there is none. When Stage returns, the
// content is on the disk. So a full disk or quota, or a file that cannot be changed, shows here; then nothing is left
// behind. The content may be what the file holds already; it must not be changed before Commit. A second Stage replaces
// the first.
//
// An error is a [*ImmutableError] for a file or folder that chattr(1) has made so, a [*MountedError] for a file that is
// mounted by itself in a read-only folder.
func (l *Lock) Stage(content []byte) (*Staged, error) {
	s, err := l.stage(content, false)
	return s, failed("write", l.file.Path, err)
}

// StageKeepingOld is Stage, but Commit then keeps the old content as PATH.old, which it replaces. If there was no file,
// nothing is kept.
func (l *Lock) StageKeepingOld(content []byte) (*Staged, error) {
	s, err := l.stage(content, true)
	return s, failed("write", l.file.Path, err)
}

func (l *Lock) stage(content []byte, keepOld bool) (*Staged, error) {
	if l.closed {
		return nil, fs.ErrClosed
	}
	if len(content) > MaxSize {
		return nil, syscall.EFBIG
	}
	if err := l.replaceable(keepOld); err != nil {
		return nil, err
	}
	if l.staged != nil {
		if err := l.staged.release(); err != nil {
			return nil, err
		}
	}
	if err := l.repair(); err != nil {
		return nil, err
	}
	s := &Staged{lock: l, content: content, inPlace: traitsOf(l.place.path).mounted}
	if err := s.prepare(keepOld); err != nil {
		return nil, joinCleanup(err, s.end())
	}
	l.staged = s
	return s, nil
}

// replaceable returns why Commit could not replace the file, though the steps before it would succeed.
func (l *Lock) replaceable(keepOld bool) error {
	p := l.place
	if err := changeable(filepath.Dir(p.path), p.path); err != nil {
		return err
	}
	if l.held == nil {
		if traitsOf(p.path).mounted {
			return &MountedError{p.path}
		}
		return syscall.EROFS
	}
	if !keepOld {
		return nil
	}
	if info, err := os.Lstat(p.oldPath()); err == nil && info.IsDir() {
		return &RefusedError{p.oldPath(), isFolder}
	}
	return changeable(p.oldPath())
}

// prepare writes the files that Commit needs.
func (s *Staged) prepare(keepOld bool) (err error) {
	p, system := s.lock.place, s.lock.file.system()
	flag := os.O_RDONLY
	if s.inPlace {
		flag = os.O_RDWR
	}
	previous, info, err := p.open(flag)
	if err != nil {
		return err
	}
	s.previous, s.keepsOld = previous, keepOld && previous != nil
	if s.path, err = p.freeStagedPath(); err != nil {
		return err
	}
	err = system.write(s.path, s.content, previous)
	if s.inPlace && errors.Is(err, syscall.EROFS) {
		return &MountedError{p.path}
	}
	if err != nil {
		return err
	}
	if !s.inPlace && !s.keepsOld {
		return nil
	}
	old, err := contentOf(previous, info)
	if err == nil {
		err = system.write(p.previousPath(), old, previous)
	}
	if err == nil && s.inPlace {
		err = reserve(previous, len(s.content))
	}
	if err != nil {
		return joinCleanup(err, s.drop())
	}
	return nil
}

// write makes one of the hidden files. The name is fixed, so that interrupted changes leave one file and not many. A
// file or link that has it already is removed, not written through.
func (c calls) write(path string, content []byte, like *os.File) error {
	if err := removeIfThere(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = c.fill(file, content, like)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return joinCleanup(err, removeIfThere(path))
	}
	return nil
}

func (c calls) fill(file *os.File, content []byte, like *os.File) error {
	if _, err := file.Write(content); err != nil {
		return err
	}
	var err error
	if like == nil {
		err = file.Chmod(0o644) // whatever the umask
	} else {
		err = copyAttributes(like, file)
	}
	if err != nil {
		return err
	}
	return c.sync(file)
}

// drop removes what prepare made.
func (s *Staged) drop() error {
	return joinCleanup(removeIfThere(s.lock.place.previousPath()), removeIfThere(s.path))
}

// Commit replaces the file by the new content, in one step: a reader sees the old or the new one. When it returns, the
// new one is on the disk. If it fails, the old content is there as before (or no file, if there was none); if that
// failed, too, the error is an [*UndoError].
//
// A file that is mounted by itself is written in place: readers of this package still see the old or the new content,
// others may see a part of it for a moment.
func (s *Staged) Commit() error {
	if s.state != waiting {
		return failed("write", s.lock.file.Path, fs.ErrClosed)
	}
	commit := s.replace
	if s.inPlace {
		commit = s.writeInPlace
	}
	if err := commit(); err != nil {
		return failed("write", s.lock.file.Path, err)
	}
	s.lock.removeLeftovers()
	return nil
}

// replace is Commit by rename(2). PATH.old is replaced only after that: until then the earlier one may be needed.
func (s *Staged) replace() error {
	p, system := s.lock.place, s.lock.file.system()
	if err := system.rename(s.path, p.path); err != nil {
		return joinCleanup(err, s.Discard())
	}
	s.state = committed
	var err error
	if s.keepsOld {
		err = s.finishPrevious()
	}
	if err == nil {
		err = system.syncFolder(filepath.Dir(p.path))
	}
	if err != nil {
		return withUndo(err, s.putBack())
	}
	return s.end()
}

// withUndo returns err, and adds the error of its undo, if there is one.
func withUndo(err, undo error) error {
	if undo != nil {
		return &UndoError{err, "the old content", undo}
	}
	return err
}

// Discard removes the new content. After Commit it does nothing.
func (s *Staged) Discard() error {
	if s.state != waiting {
		return nil
	}
	return failed("discard", s.lock.file.Path, joinCleanup(s.drop(), s.end()))
}

// putBack restores the old content from the open file, which has lost only its name in the rename. (linkat(2) cannot
// give it a new name. A second name from the beginning would be left behind by a process that is killed.)
func (s *Staged) putBack() error {
	p, system := s.lock.place, s.lock.file.system()
	if s.previous == nil {
		return joinCleanup(removeIfThere(p.path), s.end())
	}
	defer func() { _ = s.end() }()
	info, err := s.previous.Stat()
	if err != nil {
		return err
	}
	content, err := contentOf(s.previous, info)
	if err != nil {
		return err
	}
	if err := system.write(s.path, content, s.previous); err != nil {
		return err
	}
	if err := system.rename(s.path, p.path); err != nil {
		return joinCleanup(err, s.drop())
	}
	return removeIfThere(p.previousPath())
}

func (s *Staged) release() error { return joinCleanup(s.Discard(), s.end()) }

// end closes the old file.
func (s *Staged) end() error {
	s.state = finished
	if s.previous == nil {
		return nil
	}
	previous := s.previous
	s.previous = nil
	return previous.Close()
}

// syncFolder makes the names in a folder durable. A file system that cannot do this returns EINVAL (fsync(2)).
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
