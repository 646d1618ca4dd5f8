package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNothingShowsBeforeCommit(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	dir := filepath.Dir(f.Path)
	l := locked(t, f)
	s, err := l.Stage([]byte("new"))
	must(t, err)
	wantNames(t, dir, ".portmap.conf.portmap-staged", "portmap.conf.lock")
	wantContent(t, f, "")
	must(t, s.Discard())
	wantNames(t, dir, "portmap.conf.lock")
	wantError(t, s.Commit(), fs.ErrClosed, "write "+f.Path+": file already closed")
	must(t, s.Discard())
}

func TestCloseDiscards(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	l := locked(t, f)
	must(t, replace(l, "old"))
	s, err := l.Stage([]byte("new"))
	must(t, err)
	must(t, l.Close())
	must(t, l.Close())
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
	wantContent(t, f, "old")
	wantError(t, s.Commit(), fs.ErrClosed, "write "+f.Path+": file already closed")
	_, err = l.Stage(nil)
	wantError(t, err, fs.ErrClosed, "write "+f.Path+": file already closed")
}

func TestSecondStageTakesThePlaceOfTheFirst(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	l := locked(t, f)
	first, err := l.Stage([]byte("first"))
	must(t, err)
	second, err := l.Stage([]byte("second"))
	must(t, err)
	if err := first.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("commit of the first: %v", err)
	}
	must(t, first.Discard())
	must(t, second.Commit())
	wantContent(t, f, "second")
}

// TestDraftOfAnAdministrator: other files beside the file are not touched.
func TestDraftOfAnAdministrator(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o644)
	for _, draft := range []string{".new", "~", ".tmp", ".bak"} {
		put(t, f.Path+draft, "a draft", 0o644)
	}
	l := locked(t, f)
	if l.Interrupted() {
		t.Error("taken for the leftover of an interrupted change")
	}
	must(t, replace(l, "new"))
	must(t, l.Settle())
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.bak", "portmap.conf.lock", "portmap.conf.new",
		"portmap.conf.tmp", "portmap.conf~")
	wantContent(t, At(f.Path+".new"), "a draft")
}

// TestInterrupted: the leftover of an interrupted change stays until a change succeeds.
func TestInterrupted(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	dir := filepath.Dir(f.Path)
	put(t, f.Path, "old", 0o644)
	put(t, stagedFor(f), "half a chan", 0o600)
	interrupted := func(want bool) *Lock {
		t.Helper()
		l := locked(t, f)
		if l.Interrupted() != want {
			t.Fatalf("interrupted: %v, want %v", !want, want)
		}
		return l
	}
	l := interrupted(true)
	must(t, l.Close())

	l = interrupted(true)
	s, err := l.Stage([]byte("new"))
	must(t, err)
	must(t, s.Discard())
	must(t, l.Close())

	l = interrupted(true)
	wantContent(t, f, "old")
	must(t, replace(l, "new"))
	wantContent(t, f, "new")
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock")
	if l.Interrupted() {
		t.Fatal("still interrupted after a commit")
	}
	must(t, l.Close())

	put(t, stagedFor(f), "", 0o600)
	l = interrupted(true)
	must(t, l.Settle())
	must(t, l.Settle())
	must(t, l.Close())
	must(t, interrupted(false).Close())

	put(t, stagedFor(f), "", 0o600)
	l = interrupted(true)
	s, err = l.Stage([]byte("newer"))
	must(t, err)
	must(t, l.Settle()) // does not touch staged content
	must(t, s.Commit())
	wantContent(t, f, "newer")
}

// TestLeftoverIsNotWrittenThrough: a file or link with a hidden name is removed.
func TestLeftoverIsNotWrittenThrough(t *testing.T) {
	for name, plant := range map[string]func(path, victim string) error{
		"symbolic link": func(path, victim string) error { return os.Symlink(victim, path) },
		"hard link":     func(path, victim string) error { return os.Link(victim, path) },
		"dangling link": func(path, _ string) error { return os.Symlink("nowhere", path) },
		"fifo":          func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
		"folder":        func(path, _ string) error { return os.Mkdir(path, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := At(pathIn(dir))
			put(t, dir+"/victim", "victim", 0o666)
			must(t, plant(stagedFor(f), dir+"/victim"))
			l := locked(t, f)
			if !l.Interrupted() {
				t.Error("not seen")
			}
			must(t, replace(l, "new"))
			wantContent(t, f, "new")
			wantMode(t, f.Path, 0o644)
			raw, err := os.ReadFile(dir + "/victim")
			must(t, err)
			if string(raw) != "victim" {
				t.Errorf("written through: %q", raw)
			}
			wantNames(t, dir, "portmap.conf", "portmap.conf.lock", "victim")
		})
	}
}

// failing returns a File whose last steps fail on their nth call, counted from 1.
func failing(t *testing.T, rename, sync map[int]error) *File {
	f := At(pathIn(t.TempDir()))
	var renames, syncs int
	f.calls = &calls{
		sync: (*os.File).Sync,
		rename: func(from, to string) error {
			if renames++; rename[renames] != nil {
				return &os.LinkError{Op: "rename", Old: from, New: to, Err: rename[renames]}
			}
			return os.Rename(from, to)
		},
		syncFolder: func(path string) error {
			if syncs++; sync[syncs] != nil {
				return &fs.PathError{Op: "sync", Path: path, Err: sync[syncs]}
			}
			return syncFolder(path)
		},
	}
	return f
}

func TestRenameFails(t *testing.T) {
	f := failing(t, map[int]error{1: syscall.EBUSY}, nil)
	put(t, f.Path, "old", 0o640)
	l := locked(t, f)
	wantError(t, replace(l, "new"), syscall.EBUSY, "write "+f.Path+": device or resource busy")
	wantContent(t, f, "old")
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
	must(t, replace(l, "new"))
	wantContent(t, f, "new")
}

func TestFolderSyncFails(t *testing.T) {
	f := failing(t, nil, map[int]error{1: syscall.EIO, 2: syscall.EIO})
	dir := filepath.Dir(f.Path)
	l := locked(t, f)
	s, err := l.Stage([]byte("new"))
	must(t, err)
	wantError(t, s.Commit(), syscall.EIO, "write "+f.Path+": input/output error")
	wantNames(t, dir, "portmap.conf.lock")
	if err := s.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("commit after a failed one: %v", err)
	}

	put(t, f.Path, "old", 0o640)
	wantError(t, replace(l, "new"), syscall.EIO, "write "+f.Path+": input/output error")
	wantContent(t, f, "old")
	wantMode(t, f.Path, 0o640)
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock")

	must(t, replace(l, "new"))
	wantContent(t, f, "new")
}

func TestFolderSyncFailsAndNoWayBack(t *testing.T) {
	f := failing(t, map[int]error{2: syscall.ENOSPC}, map[int]error{1: syscall.EIO})
	put(t, f.Path, "old", 0o644)
	l := locked(t, f)
	err := replace(l, "new")
	if !errors.Is(err, syscall.EIO) || !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), "could not be put back") {
		t.Fatalf("error: %v", err)
	}
	wantContent(t, f, "new")
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
}

// TestPlantedWhileStaging: a link made between the check and the open is not followed either.
func TestPlantedWhileStaging(t *testing.T) {
	dir := t.TempDir()
	f := At(pathIn(dir))
	put(t, dir+"/victim", "victim", 0o600)
	l := locked(t, f)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				os.Symlink("victim", stagedFor(f))
			}
		}
	}()
	lost := 0
	for range 1000 {
		s, err := l.Stage([]byte("new"))
		if err == nil {
			err = s.Discard()
		}
		if errors.Is(err, fs.ErrExist) {
			lost++
			err = nil
		}
		must(t, err)
	}
	close(stop)
	<-stopped
	wantContent(t, At(dir+"/victim"), "victim")
	wantMode(t, dir+"/victim", 0o600)
	t.Logf("of 1000 times, %d met a link", lost)
}
