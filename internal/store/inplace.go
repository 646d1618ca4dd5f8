package store

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file that is mounted by itself, as containers have it, cannot be replaced: rename(2) fails with EBUSY. It is
// written in place, so that it may be half written when we are killed. Beside it stand then, complete and on the disk,
// its previous content and the new one; the name of the new one says which of both is to be the file:
//
//	staged     the previous one: nothing was written yet, or it is being put back
//	writing    the new one: rename(2) from the name above is the moment of the change
//
// Readers of this package see one or the other, and the next change writes it where it is missing.

// reserve allocates what the new content needs, so that a full disk shows while nothing has happened yet. Not every
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

// overwrite makes an open file hold a content. It is cut at the end, not at the beginning, so as to keep the room it
// has.
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
		return join(err, s.Discard())
	}
	s.state = committed
	err := system.syncFolder(filepath.Dir(p.path)) // both contents can be found before the file is touched
	if err == nil {
		err = system.overwrite(s.previous, s.content)
	}
	if err == nil {
		err = s.endOfPrevious()
	}
	if err != nil {
		return withBack(err, s.writeBack())
	}
	return join(removeIfThere(p.writingPath()), s.end())
}

// endOfPrevious ends the copy of what the file held: it is kept under its name, or was needed in case of failure only.
func (s *Staged) endOfPrevious() error {
	p := s.lock.place
	if s.keepsOld {
		return s.lock.file.system().rename(p.previousPath(), p.oldPath())
	}
	return removeIfThere(p.previousPath())
}

// writeBack gives the file its previous content back. Should that fail, it stays the one that readers see.
func (s *Staged) writeBack() error {
	p, system := s.lock.place, s.lock.file.system()
	s.path = p.stagedPaths()[0]
	if err := system.rename(p.writingPath(), s.path); err != nil {
		return err
	}
	previous, err := p.besides(p.previousPath())
	if err == nil && previous == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = system.overwrite(s.previous, previous)
	}
	if err != nil {
		return join(err, s.end())
	}
	if s.lock.interrupted { // it has taken the place of the trace
		makeEmpty(s.path)
		return join(removeIfThere(p.previousPath()), s.end())
	}
	return join(s.drop(), s.end())
}

// mend completes what a change that died left half done: a file that is half written, or the keeping of the old
// content.
func (l *Lock) mend() error {
	p, system := l.place, l.file.system()
	if !exists(p.previousPath()) {
		return l.keepTrace()
	}
	if !p.interrupted() { // the file was replaced already: nothing else leaves the copy alone
		return system.rename(p.previousPath(), p.oldPath())
	}
	if err := l.rewrite(); err != nil {
		return err
	}
	return join(l.keepTrace(), removeIfThere(p.previousPath()))
}

// keepTrace lets writingPath, which is of no use any more, be a trace like that of other changes that died.
func (l *Lock) keepTrace() error {
	if !exists(l.place.writingPath()) {
		return nil
	}
	return os.Rename(l.place.writingPath(), l.place.stagedPaths()[0])
}

// rewrite writes the file again where it is half written.
func (l *Lock) rewrite() error {
	content, err := l.place.content()
	if content == nil || err != nil {
		return err
	}
	whole, err := l.place.whole(content)
	if err != nil || bytes.Equal(whole, content) {
		return err
	}
	file, _, err := l.place.open(os.O_WRONLY)
	if file == nil || err != nil {
		return err
	}
	return join(l.file.system().overwrite(file, whole), file.Close())
}

// whole returns what the file is to hold when it holds this now: something else only where it is half written.
func (p place) whole(content []byte) ([]byte, error) {
	previous, err := p.besides(p.previousPath())
	if previous == nil || err != nil {
		return content, err
	}
	writing := true
	next, err := p.besides(p.writingPath())
	if next == nil && err == nil {
		writing = false
		next, err = p.besides(p.stagedPaths()[0])
	}
	if next == nil || err != nil || !halfWritten(content, previous, next) {
		return content, err
	}
	if writing {
		return next, nil
	}
	return previous, nil
}

// revision is what differs when a file was written in place meanwhile: that begins with a copy, and changes the time
// stamps.
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

// besides reads a file that stands beside the file; nil when it is missing.
func (p place) besides(path string) ([]byte, error) {
	p.path = path
	return p.content()
}

// block is what a file is written by when writing is cut short: a signal is looked for between pages
// (generic_perform_write, mm/filemap.c), and after a power failure each page is there or not. Pages are multiples of
// it.
const block = 4096

// halfWritten reports whether a content is one that overwrite, from one content to another, has passed through or a
// power failure made of it. What somebody has edited is not.
func halfWritten(content, from, to []byte) bool {
	if bytes.Equal(content, to) {
		return false
	}
	full := to // before it is cut
	if len(from) > len(to) {
		full = append(bytes.Clone(to), from[len(to):]...)
	}
	growing := len(content) > len(from) && len(content) < len(full) && len(content)%block == 0
	if n := len(content); n != len(from) && n != len(to) && n != len(full) && !growing {
		return false
	}
	for i := 0; i < len(content); i += block {
		piece := content[i:min(i+block, len(content))]
		if !begins(from, i, piece) && !begins(full, i, piece) && len(bytes.Trim(piece, "\x00")) > 0 {
			return false
		}
	}
	return true
}

func begins(content []byte, at int, piece []byte) bool {
	return at <= len(content) && bytes.HasPrefix(content[at:], piece)
}
