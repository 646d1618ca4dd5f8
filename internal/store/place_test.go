package store

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// shared makes a folder with a mode that lets others write.
func shared(t *testing.T, mode fs.FileMode) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shared")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chmod(dir, mode))
	return dir
}

// refusedEverywhere checks that neither reading nor locking touches the file, or anything else in these folders.
func refusedEverywhere(t *testing.T, f *File, why string, dirs ...string) {
	t.Helper()
	before := fmt.Sprint(snapshots(t, dirs))
	_, err := f.Read()
	wantRefused(t, err, why)
	if !strings.HasPrefix(err.Error(), "read "+f.Path+": refused: /") {
		t.Errorf("the error reads %q", err)
	}
	_, err = f.Lock(t.Context())
	wantRefused(t, err, why)
	if after := fmt.Sprint(snapshots(t, dirs)); after != before {
		t.Errorf("was %s\n now %s", before, after)
	}
}

func snapshots(t *testing.T, dirs []string) (all []string) {
	t.Helper()
	for _, dir := range dirs {
		must(t, filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
			if err == nil {
				content, _ := os.Readlink(path)
				if info.Mode().IsRegular() && info.Size() < 1000 {
					raw, _ := os.ReadFile(path)
					content = string(raw)
				}
				all = append(all, fmt.Sprint(path, info.Mode(), content))
			}
			return err
		}))
	}
	return all
}

func TestLinkInAFolderThatOthersCanWrite(t *testing.T) {
	for _, mode := range []fs.FileMode{0o777, 0o775, fs.ModeSticky | 0o777, fs.ModeSticky | 0o775} {
		t.Run(mode.String(), func(t *testing.T) {
			private, dir := t.TempDir(), shared(t, mode)
			put(t, pathIn(private), "old", 0o644)
			const why = "is a symbolic link in a folder that others can write"

			must(t, os.Symlink(pathIn(private), pathIn(dir)))
			refusedEverywhere(t, At(pathIn(dir)), why, private, dir)

			must(t, os.Symlink(private, dir+"/folder"))
			refusedEverywhere(t, At(pathIn(dir+"/folder")), why, private, dir)

			// a safe folder with a link into the other one
			must(t, os.Symlink(pathIn(dir), private+"/link"))
			refusedEverywhere(t, At(private+"/link"), why, private, dir)

			must(t, os.Symlink("nowhere", dir+"/dangling"))
			refusedEverywhere(t, At(dir+"/dangling"), why, private, dir)
		})
	}
}

func TestFileInAFolderThatOthersCanWrite(t *testing.T) {
	const replaceable = "lies in a folder where others can replace it"
	t.Run("everybody's", func(t *testing.T) {
		dir := shared(t, 0o777)
		refusedEverywhere(t, At(pathIn(dir)), replaceable, dir)
		put(t, pathIn(dir), "x", 0o644)
		refusedEverywhere(t, At(pathIn(dir)), replaceable, dir)
		must(t, os.Mkdir(dir+"/below", 0o755))
		refusedEverywhere(t, At(pathIn(dir+"/below")), replaceable, dir)
	})
	t.Run("sticky", func(t *testing.T) {
		dir := shared(t, fs.ModeSticky|0o777)
		f := At(pathIn(dir))
		l := locked(t, f)
		must(t, replace(l, "mine"))
		must(t, l.Close())
		wantContent(t, f, "mine")
		must(t, os.Link(f.Path, dir+"/second"))
		refusedEverywhere(t, f, "has a second hard link, in a folder that others can write", dir)
	})
}

func TestLinkInASafeFolderIsFollowed(t *testing.T) {
	for name, target := range map[string]string{
		"absolute": "ABSOLUTE/dotfiles/portmap.conf",
		"relative": "../dotfiles/portmap.conf",
		"chain":    "../dotfiles/link",
		"folder":   "../way/dotfiles/portmap.conf",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.MkdirAll(dir+"/etc", 0o755))
			must(t, os.MkdirAll(dir+"/dotfiles", 0o755))
			must(t, os.Symlink("portmap.conf", dir+"/dotfiles/link"))
			must(t, os.Symlink(".", dir+"/way"))
			must(t, os.Symlink(strings.ReplaceAll(target, "ABSOLUTE", dir), pathIn(dir+"/etc")))
			put(t, pathIn(dir+"/dotfiles"), "old", 0o640)
			f := At(pathIn(dir + "/etc"))
			l := locked(t, f)
			must(t, replace(l, "new"))
			wantContent(t, f, "new")
			wantNames(t, dir+"/etc", "portmap.conf")
			wantMode(t, f.Path, fs.ModeSymlink|0o777)
			real, err := filepath.EvalSymlinks(f.Path)
			must(t, err)
			wantContent(t, At(real), "new")
			wantMode(t, real, 0o640)
		})
	}
}

// TestDanglingLink: the file may be on a disk that is not mounted. It does not count as empty, and is not made again.
func TestDanglingLink(t *testing.T) {
	for name, c := range map[string]struct{ link, leads, path, target string }{
		"file":   {"etc/portmap.conf", "../disk/portmap.conf", "etc/portmap.conf", "disk/portmap.conf"},
		"folder": {"etc/portmap", "../disk/portmap/", "etc/portmap/portmap.conf", "disk/portmap/portmap.conf"},
		"part of it": {"etc/portmap", "../etc/disk/portmap", "etc/portmap/portmap.conf",
			"etc/disk/portmap/portmap.conf"},
		"through another": {"etc/portmap.conf", "here/none/portmap.conf", "etc/portmap.conf", "etc/none/portmap.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(dir+"/etc", 0o755))
			must(t, os.Symlink(".", dir+"/etc/here"))
			must(t, os.Symlink(c.leads, filepath.Join(dir, c.link)))
			f := At(filepath.Join(dir, c.path))
			before := fmt.Sprint(snapshots(t, []string{dir}))
			_, err := f.Read()
			wantDangling(t, err, filepath.Join(dir, c.link), filepath.Join(dir, c.target))
			_, err = f.Lock(t.Context())
			wantDangling(t, err, filepath.Join(dir, c.link), filepath.Join(dir, c.target))
			if after := fmt.Sprint(snapshots(t, []string{dir})); after != before {
				t.Errorf("was %s\n now %s", before, after)
			}
		})
	}
	t.Run("a file that is missing where a link leads to", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.MkdirAll(dir+"/disk/portmap", 0o755))
		must(t, os.Symlink("disk", dir+"/etc"))
		for _, path := range []string{"/etc/portmap.conf", "/etc/portmap/portmap.conf", "/etc/new/portmap.conf"} {
			content, err := At(dir + path).Read()
			must(t, err)
			if content != nil {
				t.Errorf("%s holds %q", path, content)
			}
		}
	})
}

func wantDangling(t *testing.T, err error, link, target string) {
	t.Helper()
	var dangling *DanglingLinkError
	if !errors.As(err, &dangling) || dangling.Link != link || dangling.Target != target {
		t.Errorf("error is %v, want one about %s and %s", err, link, target)
	}
}

func TestLinksThatLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("loop", dir+"/loop"))
	_, err := At(dir + "/loop").Read()
	wantError(t, err, syscall.ELOOP, "read "+dir+"/loop: too many levels of symbolic links")

	reader, writer, err := os.Pipe()
	must(t, err)
	defer reader.Close()
	defer writer.Close()
	_, err = At(fmt.Sprintf("/dev/fd/%d", reader.Fd())).Read()
	wantRefused(t, err, "is a link of /proc, not a file")
}

func TestNotARegularFile(t *testing.T) {
	const why = "is not a regular file"
	dir := t.TempDir()
	must(t, syscall.Mkfifo(dir+"/fifo", 0o644))
	refusedEverywhere(t, At(dir+"/fifo"), why, dir)
	refusedEverywhere(t, At("/dev/null"), why, dir)
	refusedEverywhere(t, At(dir), "is a folder", dir)
	refusedEverywhere(t, At(dir+"/"), "is a folder", dir)

	socket, err := net.Listen("unix", dir+"/socket")
	must(t, err)
	defer socket.Close()
	refusedEverywhere(t, At(dir+"/socket"), why, dir)

	must(t, os.Symlink("fifo", dir+"/link"))
	refusedEverywhere(t, At(dir+"/link"), why, dir)
}

func TestFileThatEverybodyCanWrite(t *testing.T) {
	dir := t.TempDir()
	put(t, pathIn(dir), "x", 0o666)
	refusedEverywhere(t, At(pathIn(dir)), "can be written by everybody", dir)
}

// TestSwapAfterTheCheck replaces the file between resolve and open, as a user of the same sticky folder can.
func TestSwapAfterTheCheck(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/other", "secret", 0o644)
	for why, swap := range map[string]func() error{
		"became a symbolic link": func() error { return os.Symlink("other", pathIn(dir)) },
		"is not a regular file":  func() error { return syscall.Mkfifo(pathIn(dir), 0o644) },
	} {
		p, err := resolve(pathIn(dir))
		must(t, err)
		must(t, swap())
		_, _, err = p.open(os.O_RDONLY)
		wantRefused(t, err, why)
		must(t, os.Remove(pathIn(dir)))
	}
}
