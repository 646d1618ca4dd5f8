package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// What stands beside the file. The hidden names are ones that nobody chooses for a draft or a copy of their own: what
// is found under them was left by a change that died, and is taken away.

// lockPath is the lock file. It stays.
func (p place) lockPath() string { return p.path + ".lock" }

// oldPath is what StageKeepingOld keeps.
func (p place) oldPath() string { return p.path + ".old" }

// stagedPaths are where a new content waits. There are two names, so that a change that finds the one of a change that
// died can leave it as its trace until it has succeeded itself.
func (p place) stagedPaths() [2]string {
	return [2]string{p.hidden("staged"), p.hidden("staged-again")}
}

// writingPath is the new content from the moment on at which it is written into a file that cannot be replaced.
func (p place) writingPath() string { return p.hidden("writing") }

// previousPath is a copy of the present content: to write it back, or to be kept as oldPath.
func (p place) previousPath() string { return p.hidden("previous") }

func (p place) hidden(what string) string {
	folder, name := filepath.Split(p.path)
	return folder + "." + name + ".portmap-" + what
}

// interrupted reports whether a change died after it was staged.
func (p place) interrupted() bool {
	staged := p.stagedPaths()
	return exists(staged[0]) || exists(staged[1]) || exists(p.writingPath())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// freeStagedPath returns the name for the next content, and takes away what is in its way.
func (p place) freeStagedPath() (string, error) {
	staged := p.stagedPaths()
	for i, path := range staged {
		if !exists(path) {
			makeEmpty(staged[1-i])
			return path, nil
		}
	}
	makeEmpty(staged[0])
	return staged[1], removeIfThere(staged[1])
}

// makeEmpty lets a trace take no room: the disk may be full. It may be somebody's link, though, and that is not
// followed.
func makeEmpty(path string) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && entryOf(info).links == 1 {
		_ = os.Truncate(path, 0) // it stays as large as it is, then
	}
}

// removeIfThere looks first: on a read-only file system, unlink(2) of what is not there fails with EROFS.
func removeIfThere(path string) error {
	if !exists(path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
