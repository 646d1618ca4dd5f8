package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	immutable  = 0x10 // FS_IMMUTABLE_FL, include/uapi/linux/fs.h
	appendOnly = 0x20 // FS_APPEND_FL
)

// fix sets flags of chattr(1) until the end of the test, and reports whether it may: root of a user namespace may not.
func fix(t *testing.T, path string, flags int) bool {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { file.Close() })
	was, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	set := func(flags int) error { return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags) }
	if err := set(was | flags); errors.Is(err, syscall.EPERM) {
		return false
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, set(was)) })
	return true
}

func TestFixed(t *testing.T) {
	for _, c := range []struct {
		name, part, says, remedy string
		flags                    int
	}{
		{"immutable file", "/portmap.conf", "immutable", "sudo chattr -i ", immutable},
		{"append-only file", "/portmap.conf", "append-only", "sudo chattr -a ", appendOnly},
		{"immutable old file", "/portmap.conf.old", "immutable", "sudo chattr -i ", immutable},
		{"immutable folder", "", "immutable", "sudo chattr -i ", immutable},
		{"append-only folder", "", "append-only", "sudo chattr -a ", appendOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := At(pathIn(t.TempDir()))
			dir := filepath.Dir(f.Path)
			put(t, f.Path, "here", 0o644)
			put(t, f.Path+".old", "before", 0o644)
			before := snapshots(t, []string{dir})
			if !fix(t, dir+c.part, c.flags) {
				return
			}
			l := locked(t, f)
			_, err := l.StageKeepingOld([]byte("new"))
			var fixed *ImmutableError
			if !errors.As(err, &fixed) || err.Error() != "write "+f.Path+": "+dir+c.part+" is "+c.says ||
				fixed.Remedy() != c.remedy+dir+c.part || errors.Is(err, fs.ErrPermission) {
				t.Errorf("error is %v", err)
			}
			must(t, l.Settle())
			must(t, l.Close())
			os.Remove(f.Path + ".lock")
			if after := snapshots(t, []string{dir}); len(before) != len(after) && c.flags != appendOnly {
				t.Errorf("was %q, now %q", before, after)
			}
			wantContent(t, f, "here")
		})
	}
}
