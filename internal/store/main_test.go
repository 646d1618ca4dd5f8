package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// roleVariable makes the test binary run one of the roles in another process; its arguments are the role's.
const roleVariable = "PORTMAP_STORE_ROLE"

func roles() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"count":         countRole,
		"hold":          holdRole,
		"rewrite":       rewriteRole,
		"full":          fullRole,
		"readonly":      readonlyRole,
		"forbidden":     forbiddenRole,
		"without lists": withoutListsRole,
		"cycle":         cycleRole,
	}
}

func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	name := os.Getenv(roleVariable)
	if name == "" {
		os.Exit(m.Run())
	}
	role := roles()[name]
	if role == nil {
		role = func([]string) error { return errors.New("no such role") }
	}
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// play prepares another process of this binary. The path of the binary works also for a user who may not enter its
// folder.
func play(t testing.TB, role string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role,
		"GORACE=atexit_sleep_ms=0") // the race detector otherwise sleeps a second at each exit
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// openFolder makes a folder that all users may enter.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "store-test-")
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(os.Chmod(dir, 0o755), os.RemoveAll(dir))) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, path, content string, mode fs.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
	must(t, os.Chmod(path, mode))
}

func locked(t testing.TB, f *File) *Lock {
	t.Helper()
	l, err := f.Lock(t.Context())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func replace(l *Lock, content string) error {
	s, err := l.Stage([]byte(content))
	if err != nil {
		return err
	}
	return s.Commit()
}

func wantContent(t testing.TB, f *File, want string) {
	t.Helper()
	got, err := f.Read()
	must(t, err)
	if string(got) != want {
		t.Fatalf("content is %.100q, want %.100q", got, want)
	}
}

// names lists a folder.
func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func wantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := names(dir); !slices.Equal(got, want) {
		t.Fatalf("the folder holds %q, want %q", got, want)
	}
}

func wantRefused(t testing.TB, err error, why string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Why != why {
		t.Fatalf("error is %v, want one that says %q", err, why)
	}
}

func wantError(t testing.TB, err, is error, text string) {
	t.Helper()
	if !errors.Is(err, is) || err.Error() != text {
		t.Fatalf("error is %q, want %q", err, text)
	}
}

// stagedFor returns the first staged path.
func stagedFor(f *File) string { return place{path: f.Path}.stagedPaths()[0] }

func pathIn(dir string) string { return filepath.Join(dir, "portmap.conf") }

func repeated(s string, size int) string {
	return string(bytes.Repeat([]byte(s), size/len(s)+1)[:size])
}
