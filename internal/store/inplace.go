package store

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file that is mounted by itself, as in containers, cannot be replaced: rename(2) fails with EBUSY. It is written in
// place, so a process that is killed may leave it half written. Its previous and its new content are then beside it,
// complete and on the disk. The name of the new content says which of the two is valid:
//
//	staged     the previous one: nothing was written yet, or it is being put back
//	writing    the new one: rename(2) from the name above is the moment of the change
//
// Readers of this package see the valid one, and the next change writes it into the file.

// reserve allocates the space for the new content, so that a full disk shows before anything has changed. Not every
// file system can do this.
func reserve(file *os.File, size int) error {
	if size == 0 {
		return nil
	}
	err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(size))
	if err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EFBIG {
		return err
	}
	return nil
}

// overwrite writes a content into an open file. It truncates the file at the end, not at the beginning, to keep the
// space that it has.
func (c calls) overwrite(file *os.File, content []byte) error {
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	if err := file.Truncate(int64(len(content))); err != nil {
		return err
	}
	return c.sync(file)
}

// writeInPlace is Commit for a file that cannot be replaced.
func (s *Staged) writeInPlace() error {
	p, system := s.lock.place, s.lock.file.system()
	if err := system.rename(s.path, p.writingPath()); err != nil {
		return joinCleanup(err, s.Discard())
	}
	s.state = committed
	err := system.syncFolder(filepath.Dir(p.path)) // both contents are on the disk before the file is touched
	if err == nil {
		err = system.overwrite(s.previous, s.content)
	}
	if err == nil {
		err = s.finishPrevious()
	}
	if err != nil {
		return withUndo(err, s.writeBack())
	}
	return joinCleanup(removeIfThere(p.writingPath()), s.end())
}

// finishPrevious renames the copy of the previous content to PATH.old, or removes it.
func (s *Staged) finishPrevious() error {
	p := s.lock.place
	if s.keepsOld {
		return s.lock.file.system().rename(p.previousPath(), p.oldPath())
	}
	return removeIfThere(p.previousPath())
}

// writeBack writes the previous content into the file again. If that fails, readers still see the previous content.
func (s *Staged) writeBack() error {
	p, system := s.lock.place, s.lock.file.system()
	s.path = p.stagedPaths()[0]
	if err := system.rename(p.writingPath(), s.path); err != nil {
		return err
	}
	previous, err := p.readBeside(p.previousPath())
	if err == nil && previous == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = system.overwrite(s.previous, previous)
	}
	if err != nil {
		return joinCleanup(err, s.end())
	}
	if s.lock.interrupted { // it becomes the leftover in place of the earlier one
		makeEmpty(s.path)
		return joinCleanup(removeIfThere(p.previousPath()), s.end())
	}
	return joinCleanup(s.drop(), s.end())
}

// repair completes an interrupted change: a file that is half written, or an old content without its name.
func (l *Lock) repair() error {
	p, system := l.place, l.file.system()
	if !exists(p.previousPath()) {
		return l.keepLeftover()
	}
	if !p.interrupted() { // the file was replaced already: only then the copy is there without a leftover
		return system.rename(p.previousPath(), p.oldPath())
	}
	if err := l.rewrite(); err != nil {
		return err
	}
	return joinCleanup(l.keepLeftover(), removeIfThere(p.previousPath()))
}

// keepLeftover renames writingPath, which is no longer needed, to the name of every other leftover.
func (l *Lock) keepLeftover() error {
	if !exists(l.place.writingPath()) {
		return nil
	}
	return os.Rename(l.place.writingPath(), l.place.stagedPaths()[0])
}

// rewrite writes the file again if it is half written.
func (l *Lock) rewrite() error {
	content, err := l.place.content()
	if content == nil || err != nil {
		return err
	}
	whole, err := l.place.intendedContent(content)
	if err != nil || bytes.Equal(whole, content) {
		return err
	}
	file, _, err := l.place.open(os.O_WRONLY)
	if file == nil || err != nil {
		return err
	}
	return joinCleanup(l.file.system().overwrite(file, whole), file.Close())
}

// intendedContent returns the valid content of a file that holds content now. They differ only if the file is half
// written.
func (p place) intendedContent(content []byte) ([]byte, error) {
	previous, err := p.readBeside(p.previousPath())
	if previous == nil || err != nil {
		return content, err
	}
	writing := true
	next, err := p.readBeside(p.writingPath())
	if next == nil && err == nil {
		writing = false
		next, err = p.readBeside(p.stagedPaths()[0])
	}
	if next == nil || err != nil || !halfWritten(content, previous, next) {
		return content, err
	}
	if writing {
		return next, nil
	}
	return previous, nil
}

// revision differs after a file was written in place: that begins with a copy, and changes the time stamps.
type revision struct{ file, copied stamp }

type stamp struct {
	inode   uint64
	size    int64
	changed syscall.Timespec
}

func (p place) revision() revision { return revision{stampOf(p.path), stampOf(p.previousPath())} }

func stampOf(path string) stamp {
	info, err := os.Lstat(path)
	if err != nil {
		return stamp{}
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stamp{stat.Ino, stat.Size, stat.Ctim}
}

// readBeside reads a file beside the file; nil if it is missing.
func (p place) readBeside(path string) ([]byte, error) {
	p.path = path
	return p.content()
}

// block is the unit in which an interrupted write is complete: the kernel checks for signals between pages
// (generic_perform_write, mm/filemap.c), and after a power failure each page is there or not. Pages are multiples of
// it.
const block = 4096

// halfWritten reports whether a content is an intermediate state of overwrite between two contents, or what a power
// failure made of one. An edited file is not.
func halfWritten(content, from, to []byte) bool {
	if bytes.Equal(content, to) {
		return false
	}
	full := to // before it is truncated
	if len(from) > len(to) {
		full = append(bytes.Clone(to), from[len(to):]...)
	}
	growing := len(content) > len(from) && len(content) < len(full) && len(content)%block == 0
	if n := len(content); n != len(from) && n != len(to) && n != len(full) && !growing {
		return false
	}
	for i := 0; i < len(content); i += block {
		piece := content[i:min(i+block, len(content))]
		if !hasPiece(from, i, piece) && !hasPiece(full, i, piece) && len(bytes.Trim(piece, "\x00")) > 0 {
			return false
		}
	}
	return true
}

func hasPiece(content []byte, at int, piece []byte) bool {
	return at <= len(content) && bytes.HasPrefix(content[at:], piece)
}
