package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Staged is a new content that is safe on the disk, beside the file, and waits to become the file.
type Staged struct {
	lock     *Lock
	path     string   // where it waits
	content  []byte   // the same, for a file that is written in place
	previous *os.File // the file as it was, held open so that it can be put back; nil when there was none
	keepsOld bool     // previous becomes PATH.old
	inPlace  bool     // the file cannot be replaced
	state    state
}

type state int

const (
	waiting   state = iota
	committed       // the file has the new content
	over            // discarded or failed
)

// Stage writes the content beside the file, as it will be: with the mode (without set-id bits), the owner, the
// access-control list and the other extended attributes of the present file, or 0644 and ours where there is none. It
// is on the disk when Stage returns; so a disk or a quota that is full shows here, and so does a file that cannot be
// changed: then nothing is left behind. The content may be what the file holds already; it must not be changed before
// Commit. A second Stage takes the place of the first.
//
// An error is a [*ImmutableError] for a file or folder that chattr(1) has made so, a [*MountedError] for a file that is
// mounted by itself in a folder that cannot be written.
func (l *Lock) Stage(content []byte) (*Staged, error) {
	s, err := l.stage(content, false)
	return s, failed("write", l.file.Path, err)
}

// StageKeepingOld is Stage, and Commit then keeps what the file held before as PATH.old, in the place of what was kept
// before. Where there was no file, nothing is kept.
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
	if err := l.mend(); err != nil {
		return nil, err
	}
	s := &Staged{lock: l, content: content, inPlace: traitsOf(l.place.path).mounted}
	if err := s.prepare(keepOld); err != nil {
		return nil, join(err, s.end())
	}
	l.staged = s
	return s, nil
}

// replaceable says why the file could not be replaced in the end, though a new one could be made or the kernel changed.
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

// prepare writes what Commit needs.
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
		return join(err, s.drop())
	}
	return nil
}

// write makes a file of ours. Its name is a fixed one, so that those who are killed leave one behind and not many; what
// is found under it is not written through but taken away, be it a link or someone else's.
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
		return join(err, removeIfThere(path))
	}
	return nil
}

func (c calls) fill(file *os.File, content []byte, like *os.File) error {
	if _, err := file.Write(content); err != nil {
		return err
	}
	var err error
	if like == nil {
		err = file.Chmod(0o644) // the umask has no say
	} else {
		err = carry(like, file)
	}
	if err != nil {
		return err
	}
	return c.sync(file)
}

// drop takes away what prepare made.
func (s *Staged) drop() error {
	return join(removeIfThere(s.lock.place.previousPath()), removeIfThere(s.path))
}

// Commit makes the new content the file, in one step: whoever reads sees the old or the new one. When it returns the
// new one is on the disk. If that fails the old content is there as before (or no file, when there was none); should
// even that not have succeeded, the error says so.
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
	s.lock.forget()
	return nil
}

// replace is Commit by rename(2). What is kept goes to its name after that: until the new content is the file, what was
// kept before is still of use.
func (s *Staged) replace() error {
	p, system := s.lock.place, s.lock.file.system()
	if err := system.rename(s.path, p.path); err != nil {
		return join(err, s.Discard())
	}
	s.state = committed
	var err error
	if s.keepsOld {
		err = s.endOfPrevious()
	}
	if err == nil {
		err = system.syncFolder(filepath.Dir(p.path))
	}
	if err != nil {
		return withBack(err, s.putBack())
	}
	return s.end()
}

func withBack(err, back error) error {
	if back != nil {
		return &UndoError{err, "the old content", back}
	}
	return err
}

// Discard drops the new content. After Commit it does nothing.
func (s *Staged) Discard() error {
	if s.state != waiting {
		return nil
	}
	return failed("discard", s.lock.file.Path, join(s.drop(), s.end()))
}

// putBack works from the open file, which the rename took only the name from. (Links to a file without a name can't be
// made again, linkat(2); a second name from the beginning would be left behind by those who are killed.)
func (s *Staged) putBack() error {
	p, system := s.lock.place, s.lock.file.system()
	if s.previous == nil {
		return join(removeIfThere(p.path), s.end())
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
		return join(err, s.drop())
	}
	return removeIfThere(p.previousPath())
}

func (s *Staged) release() error { return join(s.Discard(), s.end()) }

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
