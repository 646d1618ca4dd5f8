package integration

import (
	"bytes"
	le "encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"portmap/internal/lab"

	"golang.org/x/sys/unix"
)

// hidden is the name of what portmap has beside its file while it changes it.
func (p portmap) hidden(what string) string {
	folder, name := filepath.Split(p.file)
	return folder + "." + name + ".portmap-" + what
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

// onNFT is a command on a host, where the backend does not matter.
func onNFT(t *testing.T) portmap {
	t.Helper()
	b := backends()[0]
	host, _ := b.pair(t)
	return b.command(t, host)
}

func TestDraftOfTheAdministratorStays(t *testing.T) {
	p := onNFT(t)
	write(t, p.file+".new", "a draft\n")
	p.run("add", "443:8443")
	p.run("apply")
	p.run("remove", "443")
	wantFile(t, p.file+".new", "a draft\n")
}

func TestReplacedFileIsKept(t *testing.T) {
	p := onNFT(t)
	p.run("add", "443:8443", "80:8080")
	next := filepath.Join(t.TempDir(), "next")
	write(t, next, "444:8444/tcp\n")
	p.run("apply", "-f", next)
	wantFile(t, p.file, "444:8444/tcp\n")
	wantFile(t, p.file+".old", "443:8443/tcp\n80:8080/tcp\n")
	p.run("add", "445:8445")
	wantFile(t, p.file+".old", "443:8443/tcp\n80:8080/tcp\n")
}

// The disk on which the file is may not be mounted: what is live stays.
func TestDanglingLinkChangesNothing(t *testing.T) {
	p := onNFT(t)
	p.run("add", "443:8443")
	if err := errors.Join(os.Remove(p.file), os.Symlink("/nowhere/portmap.conf", p.file)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"apply"}, {"apply", "--keep-going"}, {"add", "80:8080"}, {"remove", "443"}} {
		unchanged(t, p, p.file+" is a link that leads nowhere: /nowhere/portmap.conf is missing\n  mount the disk",
			args...)
	}
}

// What a killed change left on a file system that is read-only now does not keep a host from restoring.
func TestLeftoverOnAReadOnlyFileSystem(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		folder := filepath.Dir(p.file)
		mount(t, folder, "tmpfs", 0, "size=64k,mode=755")
		write(t, p.file, b.line()+"443:8443\n")
		write(t, p.file+".lock", "")
		write(t, p.hidden("staged"), b.line()+"80:8080\n")
		if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=64k,mode=755"); err != nil {
			t.Fatal(err)
		}
		r := p.try("apply", "--keep-going")
		if r.Code != 0 || r.Out != "added 443:8443/tcp\n" ||
			!strings.Contains(r.Err, p.hidden("staged")+": read-only file system") {
			t.Errorf("apply: %+v", r)
		}
		consistent(t, p)
	})
}

// bindOver mounts a file over another, as containers get it.
func bindOver(t *testing.T, from, to string) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

// Killed at any moment, a mounted file is never seen half written, and nothing that was reported is lost.
func TestMountedFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		outside := filepath.Join(t.TempDir(), "portmap.conf")
		write(t, p.file, "")
		write(t, outside, "# of the host\n"+b.line())
		bindOver(t, outside, p.file)
		p.run("add", "443:8443")
		wantFile(t, outside, "# of the host\n"+b.line()+"443:8443/tcp\n")
		r := rand.New(rand.NewPCG(1, 2))
		reported := map[string]bool{"443:8443/tcp": true}
		for i := range 40 {
			mapping := fmt.Sprintf("%d:%d/tcp", 1000+i, 3000+i)
			var out bytes.Buffer
			cmd := p.cmd("add", mapping)
			cmd.Stdout = &out
			host.Do(func() {
				if err := cmd.Start(); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Duration(r.IntN(30000)) * time.Microsecond)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			reported[mapping] = strings.HasPrefix(out.String(), "added")
		}
		p.run("apply")
		consistent(t, p)
		saved, err := os.ReadFile(outside)
		for mapping, was := range reported {
			if was && !strings.Contains(string(saved), mapping+"\n") {
				t.Errorf("%s was reported as added, and is lost from\n%s%v", mapping, saved, err)
			}
		}
		if left, _ := filepath.Glob(p.hidden("*")); len(left) > 0 {
			t.Errorf("litter: %v", left)
		}
	})
}

// A file that cannot be written shows before the kernel is touched.
func TestFileThatCannotBeChanged(t *testing.T) {
	p := onNFT(t)
	p.run("add", "443:8443", "444:8444")
	t.Run("mounted in a read-only folder", func(t *testing.T) {
		p := p
		p.t = t
		folder := filepath.Dir(p.file)
		outside := filepath.Join(t.TempDir(), "portmap.conf")
		write(t, outside, "443:8443/tcp\n444:8444/tcp\n")
		bindOver(t, folder, folder)
		if err := unix.Mount("", folder, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		bindOver(t, outside, p.file)
		unchanged(t, p, "is mounted by itself, in a folder that is read-only\n  mount the folder "+folder, "add",
			"80:8080")
	})
	file, err := os.Open(p.file)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL, include/uapi/linux/fs.h
	err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, immutable)
	if errors.Is(err, unix.EPERM) && lab.UnprivilegedUID() == 0 {
		return // root of a user namespace may not
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, 0) }()
	for _, args := range [][]string{{"add", "80:8080"}, {"remove", "443"}, {"remove", "--all"}} {
		unchanged(t, p, p.file+" is immutable\n  sudo chattr -i "+p.file+"\n", args...)
	}
}

// The mask of an access-control list does not become the right of the group.
func TestAccessControlListStays(t *testing.T) {
	p := onNFT(t)
	p.run("add", "443:8443")
	const attribute = "system.posix_acl_access"
	list := le.LittleEndian.AppendUint32(nil, 2)
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 6, 0}, {4, 4, ^uint32(0)}, {0x10, 6, ^uint32(0)},
		{0x20, 4, ^uint32(0)}} {
		list = le.LittleEndian.AppendUint32(list, e[0]|e[1]<<16)
		list = le.LittleEndian.AppendUint32(list, e[2])
	}
	if err := unix.Setxattr(p.file, attribute, list, 0); err != nil {
		t.Fatal(err)
	}
	p.run("add", "80:8080")
	got := make([]byte, 1000)
	n, err := unix.Getxattr(p.file, attribute, got)
	if err != nil || !bytes.Equal(got[:n], list) {
		t.Errorf("the list is %v, %v; want %v", got[:max(n, 0)], err, list)
	}
}

// Each file has its own lock, and the kernel has one: what was reported is live.
func TestTwoFilesAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		files := [2]portmap{b.command(t, host), b.command(t, host)}
		const adds = 12
		var wait sync.WaitGroup
		results := make([]lab.Result, adds)
		for i := range results {
			wait.Add(1)
			go func() {
				defer wait.Done()
				results[i] = files[i%2].try("add", fmt.Sprintf("%d:%d", 1000+i, 2000+i))
			}()
		}
		wait.Wait()
		live := texts(b.live(t, host))
		for i, r := range results {
			if r.Code != 0 {
				t.Errorf("add %d: %+v", i, r)
			} else if !strings.Contains(live, fmt.Sprintf("%d:%d/tcp", 1000+i, 2000+i)) {
				t.Errorf("%d was reported as added, and is not live", 1000+i)
			}
		}
	})
}
