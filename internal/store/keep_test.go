package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func keep(l *Lock, content string) error {
	s, err := l.StageKeepingOld([]byte(content))
	if err != nil {
		return err
	}
	return s.Commit()
}

func TestOldContentIsKept(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	dir, old := filepath.Dir(f.Path), At(f.Path+".old")
	l := locked(t, f)
	must(t, keep(l, "first"))
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock") // there was none
	must(t, os.Chmod(f.Path, 0o640))
	must(t, keep(l, "second"))
	wantContent(t, old, "first")
	wantMode(t, old.Path, 0o640)
	must(t, replace(l, "third"))
	wantContent(t, old, "first") // only StageKeepingOld replaces it
	must(t, keep(l, "fourth"))
	wantContent(t, old, "third")
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock", "portmap.conf.old")

	s, err := l.StageKeepingOld([]byte("fifth"))
	must(t, err)
	must(t, s.Discard())
	wantContent(t, old, "third")
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock", "portmap.conf.old")

	must(t, os.Remove(old.Path))
	must(t, os.Mkdir(old.Path, 0o755))
	wantRefused(t, keep(l, "sixth"), "is a folder")
	wantContent(t, f, "fourth")
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock", "portmap.conf.old")
}

// TestKeepingFails: neither step may leave one file without the other.
func TestKeepingFails(t *testing.T) {
	for step, kept := range map[int]string{1: "before", 2: "before"} {
		f := failing(t, map[int]error{step: syscall.EIO}, nil)
		put(t, f.Path, "old", 0o644)
		put(t, f.Path+".old", "before", 0o644)
		l := locked(t, f)
		wantError(t, keep(l, "new"), syscall.EIO, "write "+f.Path+": input/output error")
		wantContent(t, f, "old")
		wantContent(t, At(f.Path+".old"), kept)
		wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock", "portmap.conf.old")
	}
}

// TestKilledWhileKeeping: the file was replaced, and the old content does not have its name yet.
func TestKilledWhileKeeping(t *testing.T) {
	for name, next := range map[string]func(*Lock) error{
		"settle": func(l *Lock) error { return l.Settle() },
		"change": func(l *Lock) error { return replace(l, "newer") },
	} {
		t.Run(name, func(t *testing.T) {
			f := At(pathIn(t.TempDir()))
			put(t, f.Path, "new", 0o644)
			put(t, f.Path+".old", "before", 0o644)
			put(t, place{path: f.Path}.previousPath(), "old", 0o644)
			l := locked(t, f)
			if l.Interrupted() {
				t.Error("kernel and file agree: that was the last step")
			}
			wantContent(t, f, "new")
			must(t, next(l))
			wantContent(t, At(f.Path+".old"), "old")
			wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock", "portmap.conf.old")
		})
	}
}

// TestOrderOfSteps: a content is on the disk before it gets its final name.
func TestOrderOfSteps(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o644)
	var steps []string
	step := func(what, path string) { steps = append(steps, what+" "+filepath.Base(path)) }
	f.calls = &calls{
		rename:     func(from, to string) error { step("rename to", to); return os.Rename(from, to) },
		sync:       func(file *os.File) error { step("sync", file.Name()); return file.Sync() },
		syncFolder: func(path string) error { step("sync folder", ""); return syncFolder(path) },
	}
	s, err := locked(t, f).StageKeepingOld([]byte("new"))
	must(t, err)
	wantSteps(t, &steps, "sync .portmap.conf.portmap-staged", "sync .portmap.conf.portmap-previous")
	must(t, s.Commit())
	wantSteps(t, &steps, "rename to portmap.conf", "rename to portmap.conf.old", "sync folder .")

	f.calls.sync = func(*os.File) error { return syscall.EIO }
	_, err = locked(t, At(pathIn(t.TempDir()))).Stage(nil)
	must(t, err)
	f.Path = pathIn(t.TempDir())
	if _, err = locked(t, f).Stage(nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("a failed sync: %v", err)
	}
}

func wantSteps(t *testing.T, got *[]string, want ...string) {
	t.Helper()
	if len(*got) != len(want) {
		t.Fatalf("steps are %q, want %q", *got, want)
	}
	for i := range want {
		if (*got)[i] != want[i] {
			t.Errorf("step %d is %q, want %q", i, (*got)[i], want[i])
		}
	}
	*got = nil
}
