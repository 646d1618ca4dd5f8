package rundir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/internal/store"
)

// holdVariable makes the test binary take the lock in the folder that it names, say so, and wait.
const holdVariable = "PORTMAP_RUNDIR_HOLD"

func hold() {
	if _, err := At(os.Getenv(holdVariable)).Lock(context.Background(), 0); err != nil {
		os.Exit(1)
	}
	os.Stdout.WriteString("held\n")
	select {}
}

func acquire(t *testing.T, folder string, timeout time.Duration) *Lock {
	t.Helper()
	l, err := At(folder).Lock(t.Context(), timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func wantLocked(t *testing.T, folder string) {
	t.Helper()
	if _, err := At(folder).Lock(t.Context(), -1); !errors.Is(err, store.ErrLocked) {
		t.Errorf("error is %v, want that it is locked", err)
	}
}

// TestOneForEachNamespace: threads of one process can be in different namespaces.
func TestOneForEachNamespace(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "portmap")
	first := acquire(t, folder, 0)
	wantLocked(t, folder)
	host := lab.New(t).Host("host")
	var second *Lock
	var err error
	host.Do(func() { second, err = At(folder).Lock(t.Context(), -1) })
	if err != nil {
		t.Fatal(err)
	}
	host.Do(func() { wantLocked(t, folder) })
	for _, l := range []*Lock{first, second} {
		if !l.Held() {
			t.Error("not held")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	acquire(t, folder, -1)
	found, _ := filepath.Glob(folder + "/*")
	if len(found) != 2 {
		t.Errorf("the folder holds %q", found)
	}
	for path, want := range map[string]fs.FileMode{folder: fs.ModeDir | 0o755, found[0]: 0o600, found[1]: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// TestEndsWithTheProcess: the lock ends with the process, however that ends.
func TestEndsWithTheProcess(t *testing.T) {
	folder := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holdVariable+"="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Error(err)
	}
	wantLocked(t, folder)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	acquire(t, folder, -1)
}

// TestWhereNothingCanBeWritten: on a read-only file system, or in a folder of another user, the lock holds nothing.
func TestWhereNothingCanBeWritten(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mount("rundir", folder, "tmpfs", syscall.MS_RDONLY, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	if acquire(t, folder+"/portmap", 0).Held() {
		t.Error("held on a read-only file system")
	}
	everybodys := t.TempDir()
	if err := os.Chmod(everybodys, 0o777); err != nil {
		t.Fatal(err)
	}
	if acquire(t, everybodys, 0).Held() {
		t.Error("held in a folder where others can replace it")
	}
	if l, err := (Dir{}).Lock(t.Context(), 0); err != nil || l.Held() {
		t.Errorf("of no namespace: %v, %v", l, err)
	}
}

// If the name of the namespace is unknown, Lock fails: it does not go on without the lock.
func TestNoName(t *testing.T) {
	if _, err := (Dir{err: syscall.EMFILE}).Lock(t.Context(), 0); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("the lock: %v", err)
	}
}
