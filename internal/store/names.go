package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// The names of the files beside the file. No person would choose the hidden names for a draft or a copy: a file with
// one of them is the leftover of an interrupted change, and is removed.

// lockPath returns the lock file. It is never removed.
func (p place) lockPath() string { return p.path + ".lock" }

// oldPath returns where StageKeepingOld keeps the old content.
func (p place) oldPath() string { return p.path + ".old" }

// stagedPaths returns the names of a new content before the rename. There are two, so that a change can keep the
// leftover of an interrupted one until it has succeeded itself.
func (p place) stagedPaths() [2]string {
	return [2]string{p.hidden("staged"), p.hidden("staged-again")}
}

// writingPath returns the name of the new content while it is written into a file that cannot be replaced.
func (p place) writingPath() string { return p.hidden("writing") }

// previousPath returns the name of a copy of the present content, which is written back or becomes oldPath.
func (p place) previousPath() string { return p.hidden("previous") }

func (p place) hidden(what string) string {
	folder, name := filepath.Split(p.path)
	return folder + "." + name + ".portmap-" + what
}

// interrupted reports whether a change was killed after it was staged.
func (p place) interrupted() bool {
	staged := p.stagedPaths()
	return exists(staged[0]) || exists(staged[1]) || exists(p.writingPath())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// freeStagedPath returns the name for the next content, and removes a file that has it.
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

// makeEmpty truncates a leftover, since the disk may be full. It does not follow a link, which another user may have
// made.
func makeEmpty(path string) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && entryOf(info).links == 1 {
		_ = os.Truncate(path, 0) // if this fails, it only stays large
	}
}

// removeIfThere removes a file if it exists. On a read-only file system, unlink(2) of a missing file fails with EROFS.
func removeIfThere(path string) error {
	if !exists(path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
