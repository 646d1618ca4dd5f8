package savefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Staged is a new content that is on the disk, beside the file, and not yet in its place.
type Staged struct {
	lock *Lock
	next string
	old  []byte // for Revert
	had  bool   // whether there was a file
}

// Stage writes the new content beside the file and waits for the disk. The file keeps its mode and owner; a new one has mode
// 0644. After an error, such as ENOSPC, nothing is left behind.
func (l *Lock) Stage(content []byte) (*Staged, error) {
	s := &Staged{lock: l, next: l.path + ".new"}
	var err error
	if s.old, err = l.file.Read(); err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	uid, gid := -1, -1
	if info, err := os.Lstat(l.path); err == nil {
		s.had, mode = true, info.Mode().Perm()
		uid, gid = ownerOf(info)
	}
	if err := s.write(content, mode, uid, gid); err != nil {
		return nil, errors.Join(withPath("write", l.file.Path, err), s.Discard())
	}
	return s, nil
}

// write makes the file anew: whatever stands under the name, even a link, is unlinked and never opened.
func (s *Staged) write(content []byte, mode fs.FileMode, uid, gid int) error {
	if err := os.Remove(s.next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(s.next, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil && uid >= 0 && (uid != os.Geteuid() || gid != os.Getegid()) {
		err = file.Chown(uid, gid)
	}
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Commit puts the new content in the file's place and waits for the disk. After an error the old content is there.
func (s *Staged) Commit() error {
	if err := s.lock.file.rename(s.next, s.lock.path); err != nil {
		return errors.Join(withPath("replace", s.lock.file.Path, err), s.Discard())
	}
	if err := s.lock.file.syncDir(filepath.Dir(s.lock.path)); err != nil {
		return errors.Join(withPath("replace", s.lock.file.Path, err), s.revert())
	}
	return nil
}

// Discard drops the new content before it was committed.
func (s *Staged) Discard() error {
	if err := os.Remove(s.next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return withPath("remove", s.next, err)
	}
	return nil
}

// revert puts the old content back after the rename.
func (s *Staged) revert() error {
	if !s.had {
		return os.Remove(s.lock.path)
	}
	info, err := os.Lstat(s.lock.path)
	if err != nil {
		return err
	}
	uid, gid := ownerOf(info)
	if err := s.write(s.old, info.Mode().Perm(), uid, gid); err != nil {
		return errors.Join(err, s.Discard())
	}
	return os.Rename(s.next, s.lock.path)
}

func ownerOf(info fs.FileInfo) (uid, gid int) {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), int(stat.Gid)
	}
	return -1, -1
}
