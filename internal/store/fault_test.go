package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// The faults are the kernel's own: file systems that are full or read-only, in a mount namespace of the process that
// meets them, and users that have no right.

// inNamespaces gives a process its own mounts; where we are not root, by way of a user namespace.
func inNamespaces(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	if os.Geteuid() != 0 {
		asRootOf(cmd, os.Geteuid(), os.Getegid())
	}
	return cmd
}

// asRootOf makes a process root of a user namespace that maps only the real user.
func asRootOf(cmd *exec.Cmd, uid, gid int) *exec.Cmd {
	attr := cmd.SysProcAttr
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	attr.Credential = &syscall.Credential{NoSetGroups: true}
	return cmd
}

const ordinary = 12345 // a user without rights

func asOrdinary(cmd *exec.Cmd) *exec.Cmd {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: ordinary, Gid: ordinary}
	}
	return cmd
}

func ownedByOrdinary(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() == 0 {
		must(t, os.Chown(path, ordinary, ordinary))
	}
}

func lock(f *File) (*Lock, error) { return f.Lock(context.Background()) }

// expect checks an error in another process.
func expect(err, is error, text string) error {
	if err == nil || !errors.Is(err, is) || err.Error() != text {
		return fmt.Errorf("error is %q, want %q", err, text) //nolint:errorlint // no cause: the text is wrong
	}
	return nil
}

func expectNames(dir string, want ...string) error {
	if got := names(dir); !slices.Equal(got, want) {
		return fmt.Errorf("the folder holds %q, want %q", got, want)
	}
	return nil
}

func expectContent(f *File, want string) error {
	if got, err := f.Read(); err != nil || string(got) != want {
		return fmt.Errorf("content is %.50q, %w, want %.50q", got, err, want)
	}
	return nil
}

func TestFullDisk(t *testing.T) {
	t.Run("no pages", func(t *testing.T) { run(t, inNamespaces(play(t, "full", t.TempDir(), "size=64k"))) })
	t.Run("no inodes", func(t *testing.T) { run(t, inNamespaces(play(t, "full", t.TempDir(), "nr_inodes=3"))) })
}

func fullRole(args []string) error {
	dir, options := args[0], args[1]
	if err := mountPrivately("store", dir, "tmpfs", 0, options+",mode=755"); err != nil {
		return err
	}
	f := At(pathIn(dir))
	l, err := lock(f)
	if err != nil {
		return err
	}
	defer l.Close()
	old := repeated("old", 4000)
	if err := os.WriteFile(f.Path, []byte(old), 0o644); err != nil {
		return err
	}
	for range 3 {
		_, err = l.Stage([]byte(repeated("new", 1<<20)))
		err = errors.Join(
			expect(err, syscall.ENOSPC, "write "+f.Path+": no space left on device"),
			expectNames(dir, "portmap.conf", "portmap.conf.lock"),
			expectContent(f, old))
		if err != nil {
			return err
		}
	}
	if options != "size=64k" {
		return nil
	}
	return errors.Join(replace(l, "small"), expectContent(f, "small"), fullAfterInterruption(f, l))
}

// fullAfterInterruption: the leftover of an interrupted change stays, but is empty.
func fullAfterInterruption(f *File, l *Lock) error {
	if err := errors.Join(l.Close(), os.WriteFile(stagedFor(f), []byte("half"), 0o600)); err != nil {
		return err
	}
	l, err := lock(f)
	if err != nil {
		return err
	}
	defer l.Close()
	_, err = l.Stage([]byte(repeated("new", 1<<20)))
	info, missing := os.Stat(stagedFor(f))
	if missing != nil || info.Size() != 0 {
		return fmt.Errorf("the leftover: %v, %v", info, missing) //nolint:errorlint // it may be nil
	}
	return errors.Join(expect(err, syscall.ENOSPC, "write "+f.Path+": no space left on device"), replace(l, "small"))
}

func mountPrivately(source, dir, kind string, flags uintptr, options string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	return os.NewSyscallError("mount", syscall.Mount(source, dir, kind, flags, options))
}

func TestReadOnlyFileSystem(t *testing.T) {
	for _, c := range []struct {
		name   string
		file   string
		lock   bool
		folder bool
	}{
		{"with lock file", "old", true, true},
		{"without lock file", "old", false, true},
		{"without file", "", false, true},
		{"without folder", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f := At(pathIn(dir + "/portmap"))
			if c.folder {
				must(t, os.Mkdir(dir+"/portmap", 0o755))
			}
			if c.file != "" {
				put(t, f.Path, c.file, 0o644)
			}
			if c.lock {
				put(t, f.Path+".lock", "", 0o600)
			}
			before := snapshots(t, []string{dir})
			run(t, inNamespaces(play(t, "readonly", dir, f.Path, c.file)))
			if after := snapshots(t, []string{dir}); !slices.Equal(before, after) {
				t.Errorf("was %q, now %q", before, after)
			}
		})
	}
}

func readonlyRole(args []string) error {
	dir, f, content := args[0], At(args[1]), args[2]
	if err := mountPrivately(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		return os.NewSyscallError("remount", err)
	}
	l, err := lock(f)
	if err != nil {
		return err
	}
	_, err = l.Stage([]byte("new"))
	return errors.Join(
		expect(err, syscall.EROFS, "write "+f.Path+": read-only file system"),
		expectContent(f, content),
		l.Close())
}

// TestNoPermission: an ordinary user can read, where the modes say so, and nothing else.
func TestNoPermission(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		dir := openFolder(t)
		put(t, pathIn(dir), "old", 0o644)
		must(t, os.Chmod(dir, 0o555))
		run(t, asOrdinary(play(t, "forbidden", pathIn(dir), "lock", "old")))
		wantNames(t, dir, "portmap.conf")
	})
	t.Run("missing folder", func(t *testing.T) {
		dir := openFolder(t)
		must(t, os.Chmod(dir, 0o555))
		run(t, asOrdinary(play(t, "forbidden", pathIn(dir+"/etc"), "lock", "")))
		wantNames(t, dir)
	})
	t.Run("lock file", func(t *testing.T) {
		dir := openFolder(t)
		put(t, pathIn(dir), "old", 0o644)
		put(t, pathIn(dir)+".lock", "", 0)
		run(t, asOrdinary(play(t, "forbidden", pathIn(dir), "lock", "old")))
	})
	t.Run("file", func(t *testing.T) {
		dir := openFolder(t)
		put(t, pathIn(dir), "old", 0)
		run(t, asOrdinary(play(t, "forbidden", pathIn(dir), "read")))
	})
	t.Run("folder to enter", func(t *testing.T) {
		dir := openFolder(t)
		put(t, pathIn(dir), "old", 0o644)
		must(t, os.Chmod(dir, 0))
		run(t, asOrdinary(play(t, "forbidden", pathIn(dir), "read")))
	})
}

func forbiddenRole(args []string) error {
	f := At(args[0])
	if args[1] == "read" {
		_, err := f.Read()
		return expect(err, fs.ErrPermission, "read "+f.Path+": permission denied")
	}
	_, err := lock(f)
	return errors.Join(
		expect(err, fs.ErrPermission, "lock "+f.Path+": permission denied"),
		expectContent(f, args[2]))
}

// TestOwnFolderOfAnOrdinaryUser runs as that user, and as root of a user namespace, where root's folders seem to belong
// to nobody.
func TestOwnFolderOfAnOrdinaryUser(t *testing.T) {
	dir := openFolder(t)
	must(t, os.Mkdir(dir+"/own", 0o755))
	ownedByOrdinary(t, dir+"/own")
	run(t, asOrdinary(play(t, "cycle", pathIn(dir+"/own"))))

	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = ordinary, ordinary
	}
	run(t, asRootOf(play(t, "cycle", pathIn(dir+"/own")), uid, gid))
	wantNames(t, dir+"/own", "portmap.conf", "portmap.conf.lock")
	if os.Geteuid() == 0 {
		_, err := At(pathIn(dir + "/own")).Read()
		wantRefused(t, err, "lies in a folder of another user")
	}
}

// cycleRole changes a file, begins a change and discards it, and changes the file again.
func cycleRole(args []string) error {
	f := At(args[0])
	l, err := lock(f)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := replace(l, "first"); err != nil {
		return err
	}
	s, err := l.Stage([]byte("second"))
	if err != nil {
		return err
	}
	return errors.Join(s.Discard(), expectContent(f, "first"), replace(l, "third"), expectContent(f, "third"))
}
