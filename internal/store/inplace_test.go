package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const mountsVariable = "PORTMAP_STORE_MOUNTS"

// ownMounts runs a test again in a mount namespace of its own, and reports whether this is that run.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsVariable) != "" {
		must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
		must(t, syscall.Mount("store", os.TempDir(), "tmpfs", 0, "mode=1777")) // a disk would be slow to sync
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.timeout=10m", "-test.run",
		"^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mountsVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := inNamespaces(cmd).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a mount namespace: %v\n%s", err, out)
	}
	return false
}

// bind mounts a path over another until the end of the test.
func bind(t *testing.T, from, to string, flags uintptr) {
	t.Helper()
	must(t, syscall.Mount(from, to, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { must(t, syscall.Unmount(to, syscall.MNT_DETACH)) })
	if flags != 0 {
		must(t, syscall.Mount("", to, "", syscall.MS_REMOUNT|syscall.MS_BIND|flags, ""))
	}
}

// mountedFile is a file that is mounted by itself in a container, and the file on the host.
func mountedFile(t *testing.T, content string) (f *File, outside string) {
	t.Helper()
	f = At(pathIn(t.TempDir()))
	outside = pathIn(t.TempDir())
	put(t, f.Path, "", 0o600)
	put(t, outside, content, 0o640)
	bind(t, outside, f.Path, 0)
	return f, outside
}

func TestMountedFile(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	f, outside := mountedFile(t, "first, and longer than the second\n")
	dir := filepath.Dir(f.Path)
	l := locked(t, f)
	must(t, replace(l, "second\n"))
	wantContent(t, f, "second\n")
	wantContent(t, At(outside), "second\n")
	wantMode(t, outside, 0o640)
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock")
	must(t, keep(l, repeated("third\n", 100_000)))
	wantContent(t, At(outside), repeated("third\n", 100_000))
	wantContent(t, At(f.Path+".old"), "second\n")
	wantMode(t, f.Path+".old", 0o640)
	must(t, keep(l, ""))
	wantContent(t, f, "")
	s, err := l.Stage([]byte("dropped"))
	must(t, err)
	wantContent(t, f, "")
	must(t, s.Discard())
	wantContent(t, f, "")
	wantNames(t, dir, "portmap.conf", "portmap.conf.lock", "portmap.conf.old")
}

// TestMountedFileThatCannotBeWritten: the error comes before anything is changed.
func TestMountedFileThatCannotBeWritten(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	t.Run("mounted read-only", func(t *testing.T) {
		f := At(pathIn(t.TempDir()))
		outside := pathIn(t.TempDir())
		put(t, f.Path, "", 0o644)
		put(t, outside, "old", 0o644)
		bind(t, outside, f.Path, syscall.MS_RDONLY)
		_, err := locked(t, f).Stage([]byte("new"))
		wantError(t, err, syscall.EROFS, "write "+f.Path+": read-only file system")
		wantContent(t, f, "old")
		wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
	})
	for name, lockFile := range map[string]bool{"with a lock file": true, "without a lock file": false} {
		t.Run("in a folder that is read-only, "+name, func(t *testing.T) {
			dir := t.TempDir()
			f := At(pathIn(dir))
			outside := pathIn(t.TempDir())
			put(t, f.Path, "", 0o644)
			if lockFile {
				put(t, f.Path+".lock", "", 0o600)
			}
			put(t, outside, "old", 0o644)
			bind(t, dir, dir, syscall.MS_RDONLY)
			bind(t, outside, f.Path, 0)
			l := locked(t, f)
			_, err := l.Stage([]byte("new"))
			var mounted *MountedError
			if !errors.As(err, &mounted) || mounted.Remedy() != "mount the folder "+dir+" instead of the file" {
				t.Errorf("error is %v", err)
			}
			must(t, l.Settle())
			wantContent(t, f, "old")
		})
	}
	t.Run("full", func(t *testing.T) {
		f := At(pathIn(t.TempDir()))
		small := t.TempDir()
		must(t, syscall.Mount("store", small, "tmpfs", 0, "size=64k,mode=755"))
		t.Cleanup(func() { must(t, syscall.Unmount(small, syscall.MNT_DETACH)) })
		put(t, f.Path, "", 0o644)
		put(t, pathIn(small), "old", 0o644)
		bind(t, pathIn(small), f.Path, 0)
		l := locked(t, f)
		_, err := l.Stage([]byte(repeated("new", 1<<20)))
		wantError(t, err, syscall.ENOSPC, "write "+f.Path+": no space left on device")
		wantContent(t, f, "old")
		wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
		must(t, replace(l, "small"))
		wantContent(t, f, "small")
	})
}

// TestWriteInPlaceFails: the old content is written back. If that fails as well, readers still see it, and the next
// change writes it.
func TestWriteInPlaceFails(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	for _, interrupted := range []bool{false, true} {
		f, outside := mountedFile(t, "old")
		if interrupted {
			put(t, stagedFor(f), "", 0o600)
		}
		failures := 1
		f.calls = &calls{rename: os.Rename, syncFolder: syncFolder, sync: func(file *os.File) error {
			if file.Name() == f.Path && failures > 0 {
				failures--
				return syscall.EIO
			}
			return file.Sync()
		}}
		l := locked(t, f)
		wantError(t, replace(l, "new and longer"), syscall.EIO, "write "+f.Path+": input/output error")
		wantContent(t, At(outside), "old")
		if l.Interrupted() != interrupted || (place{path: f.Path}).interrupted() != interrupted {
			t.Errorf("interrupted: %v, a leftover: %v", l.Interrupted(), place{path: f.Path}.interrupted())
		}
		failures = 2
		err := replace(l, "new and longer")
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "could not be put back") {
			t.Errorf("error is %v", err)
		}
		wantContent(t, f, "old")
		must(t, replace(l, "newer"))
		wantContent(t, At(outside), "newer")
		wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
	}
}

// TestKilledWhileWritingInPlace makes the state of a writer that was killed at each step, and repairs it.
func TestKilledWhileWritingInPlace(t *testing.T) {
	short, long := "short\n", repeated("long\n", 3*block+5)
	for _, c := range []struct{ old, next string }{{short, long}, {long, short}, {repeated("other\n", 3*block), long},
		{"", long}, {long, ""}} {
		for _, now := range writing(c.old, c.next) {
			for mark, want := range map[string]string{"writing": c.next, "staged": c.old} {
				if now == c.next {
					want = c.next // nothing is missing
				}
				for name, repair := range map[string]func(*Lock) error{
					"settle": (*Lock).Settle,
					"change": func(l *Lock) error { _, err := l.Stage([]byte("x")); return err },
				} {
					f := At(pathIn(t.TempDir()))
					p := place{path: f.Path}
					put(t, f.Path, now, 0o644)
					put(t, p.hidden(mark), c.next, 0o644)
					put(t, p.previousPath(), c.old, 0o644)
					wantContent(t, f, want)
					l := locked(t, f)
					if !l.Interrupted() {
						t.Error("not interrupted")
					}
					must(t, repair(l))
					wantContent(t, f, want)
					raw, err := os.ReadFile(f.Path)
					must(t, err)
					if string(raw) != want {
						t.Errorf("%s at %s: the file holds %.20q, want %.20q", name, mark, raw, want)
					}
					must(t, l.Close())
					if again := locked(t, f); again.Interrupted() != (name == "change") {
						t.Errorf("%s: interrupted: %v", name, again.Interrupted())
					}
				}
			}
		}
	}
}

// writing returns what a file holds on its way from one content to another.
func writing(from, to string) (states []string) {
	over := func(n int) string { return to[:n] + from[min(n, len(from)):] }
	for n := 0; n < len(to); n += block {
		states = append(states, over(n))
	}
	return append(states, over(len(to)), to)
}

// TestEditAfterAKill: a file that was edited since stays, even if it is a part of our content.
func TestEditAfterAKill(t *testing.T) {
	const old, next = "443:8443/tcp\n80:8080/tcp\n", "443:8443/tcp\n80:8080/tcp\n81:8081/tcp\n82:8082/tcp\n"
	for _, c := range []struct{ old, next, edited string }{
		{old, next, "443:8443/tcp\n80:8080/tcp\n81:8081/tcp\n"},
		{old, next, "443:8443/tcp\n"},
		{old, next, ""},
		{next, old, "443:8443/tcp\n"},
		{next, old, "443:8443/tcp\n80:8080/tcp\n81:8081/tcp\n"},
		{"443:8443/tcp\n80:8080/tcp\n", "444:8443/tcp\n81:8080/tcp\n", "444:8443/tcp\n80:8080/tcp\n"},
		{"443:8443/tcp\n80:8080/tcp\n", "444:8443/tcp\n81:8080/tcp\n", "443:8443/tcp\n81:8080/tcp\n"},
	} {
		for _, mark := range []string{"writing", "staged"} {
			f := At(pathIn(t.TempDir()))
			put(t, f.Path, c.edited, 0o644)
			put(t, place{path: f.Path}.hidden(mark), c.next, 0o644)
			put(t, place{path: f.Path}.previousPath(), c.old, 0o644)
			wantContent(t, f, c.edited)
			must(t, locked(t, f).Settle())
			wantContent(t, f, c.edited)
			wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
		}
	}
}

// TestPowerFailure: pages reach the disk in any order, and missing ones read as zeros.
func TestPowerFailure(t *testing.T) {
	from, to := []byte(repeated("from\n", 5*block)), []byte(repeated("to\n", 7*block))
	for pattern := range 1 << 7 {
		content := bytes.Clone(to)
		for page := range 7 {
			if pattern>>page&1 == 0 {
				copy(content[page*block:(page+1)*block], make([]byte, block))
				if page < 5 {
					copy(content[page*block:], from[page*block:(page+1)*block])
				}
			}
		}
		if want := pattern != 1<<7-1; halfWritten(content, from, to) != want {
			t.Errorf("pattern %b: %v", pattern, !want)
		}
	}
	content := bytes.Clone(to)
	content[2*block+7] ^= 1
	if halfWritten(content, from, to) {
		t.Error("an edit is taken for ours")
	}
}

// TestKilledWriterInPlace is TestKilledWriter for a mounted file.
func TestKilledWriterInPlace(t *testing.T) {
	if ownMounts(t) {
		f, outside := mountedFile(t, version(1))
		killWriters(t, f)
		wantContent(t, At(outside), "the end")
	}
}

// TestReadersOfAMountedFile: readers never see a part of a file that is written all the time.
func TestReadersOfAMountedFile(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	f, _ := mountedFile(t, version(1))
	cmd := play(t, "rewrite", f.Path)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	seen := map[int]bool{}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for len(seen) < 100 {
		if len(ended) > 0 {
			t.Fatalf("the writer has ended: %v", <-ended)
		}
		content, err := f.Read()
		must(t, err)
		n, err := versionOf(string(content))
		must(t, err)
		seen[n] = true
	}
	must(t, cmd.Process.Kill())
	<-ended
}

// TestReservedRoom: if the file system can, the space for the new content is allocated before the file is touched.
func TestReservedRoom(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := t.TempDir()
	must(t, syscall.Mount("store", dir, "tmpfs", 0, "size=256k,mode=755"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "", 0o644)
	put(t, pathIn(dir), "old", 0o644)
	bind(t, pathIn(dir), f.Path, 0)
	l := locked(t, f)
	s, err := l.Stage([]byte(repeated("new", 64<<10)))
	must(t, err)
	if err := os.WriteFile(dir+"/ballast", make([]byte, 256<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(fmt.Errorf("the file system does not become full: %w", err))
	}
	must(t, s.Commit())
	wantContent(t, f, repeated("new", 64<<10))
}

// TestRevision: a file that was written in place has another revision, also if its size is the same.
func TestRevision(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o644)
	p, err := resolve(f.Path)
	must(t, err)
	before := p.revision()
	if p.revision() != before {
		t.Error("nobody has written it, and it has another revision")
	}
	for wait := time.Millisecond; ; wait *= 2 { // time stamps are as coarse as the kernel's clock ticks
		put(t, f.Path, "new", 0o644)
		if p.revision() != before {
			return
		}
		if wait > time.Second {
			t.Fatal("it was written, and has the same revision")
		}
		time.Sleep(wait)
	}
}
