package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Folder holds the files. It is made at the first use, writable only by root.
const Folder = "/run/portmap"

// Dir is the files of one network namespace. The zero Dir keeps nothing.
type Dir struct {
	folder string
	name   string // of the namespace
	err    error  // why it has no name
}

// Open returns the Dir of the network namespace of this thread.
func Open() Dir { return At(Folder) }

// At is Open with another folder.
func At(folder string) Dir {
	name, err := namespace()
	return Dir{folder, name, err}
}

// namespace returns a name for the network namespace of the thread. Its cookie is never used twice (SO_NETNS_COOKIE,
// Linux 5.14); older kernels have only the inode number, which is used again after the namespace ends. Any other
// failure is an error, so that a namespace has only one name.
func namespace() (string, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err == nil {
		return fmt.Sprintf("net-%d", cookie), nil
	}
	if !errors.Is(err, unix.ENOPROTOOPT) {
		return "", err
	}
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("net-inode-%d", info.Sys().(*syscall.Stat_t).Ino), nil
}

func (d Dir) path(kind string) string { return filepath.Join(d.folder, d.name+"."+kind) }

// make makes the folder if it is missing.
func (d Dir) make() error {
	if d.name == "" {
		return errors.ErrUnsupported
	}
	if err := os.Mkdir(d.folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.check()
}

// check refuses a folder that other users can write.
func (d Dir) check() error {
	if d.name == "" {
		return errors.ErrUnsupported
	}
	info, err := os.Lstat(d.folder)
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 || owner != 0 && int(owner) != os.Geteuid() {
		return fmt.Errorf("%s can be written by others", d.folder)
	}
	return nil
}

// maxFiles bounds the list of files: each is read at each change.
const maxFiles = 16

// Files returns the paths of the files that live mappings came from, as far as known.
func (d Dir) Files() []string {
	if d.check() != nil {
		return nil
	}
	content, err := os.ReadFile(d.path("files"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
}

// AddFile records that mappings of a file went into the kernel. It drops files that no longer exist.
func (d Dir) AddFile(path string) error {
	files := d.Files()
	if slices.Contains(files, path) || strings.ContainsRune(path, '\n') {
		return nil
	}
	if err := d.make(); err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f string) bool {
		_, err := os.Lstat(f)
		return errors.Is(err, fs.ErrNotExist)
	})
	files = append(files, path)
	files = files[max(0, len(files)-maxFiles):]
	return d.replace("files", strings.Join(files, "\n")+"\n")
}

// replace writes a file at once or not at all.
func (d Dir) replace(kind, content string) error {
	staged := d.path(kind + ".new")
	err := os.WriteFile(staged, []byte(content), 0o644)
	if err == nil {
		err = os.Rename(staged, d.path(kind))
	}
	if err != nil {
		_ = os.Remove(staged)
	}
	return err
}

// BeginWatch records that this process watches, until it ends or calls the returned function.
func (d Dir) BeginWatch() (end func(), err error) {
	if err := d.make(); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(d.path("watch"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	// Several may watch: the lock is shared.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// Watched reports whether a watch runs.
func (d Dir) Watched() bool {
	if d.check() != nil {
		return false
	}
	file, err := os.OpenFile(d.path("watch"), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	return errors.Is(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
