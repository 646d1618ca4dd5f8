package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReadTellsMissingFromEmpty(t *testing.T) {
	for _, path := range []string{"portmap.conf", "no/such/folder/portmap.conf"} {
		f := At(filepath.Join(t.TempDir(), path))
		content, err := f.Read()
		must(t, err)
		if content != nil {
			t.Errorf("%q, not nil", content)
		}
		wantNames(t, filepath.Dir(f.Path))
	}
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "", 0o644)
	content, err := f.Read()
	must(t, err)
	if content == nil {
		t.Error("an empty file is taken for a missing one")
	}
}

func TestReadFails(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "x", 0o644)
	for path, want := range map[string]syscall.Errno{
		"":                                    syscall.ENOENT,
		dir + "/file/portmap.conf":            syscall.ENOTDIR,
		dir + "/missing/../file":              syscall.ENOENT,
		dir + "/" + repeated("x", 300):        syscall.ENAMETOOLONG,
		dir + "/missing/" + "../portmap.conf": syscall.ENOENT,
	} {
		_, err := At(path).Read()
		wantError(t, err, want, "read "+path+": "+want.Error())
	}
}

func TestReadAndReplace(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	l := locked(t, f)
	large := repeated("443:8443/tcp # a line\n", 3<<20)
	for _, content := range []string{"443:8443/tcp\n", large, large, "", "80:8080/tcp"} {
		must(t, replace(l, content))
		wantContent(t, f, content)
		wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
	}
}

func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{"portmap.conf", "./a//b/portmap.conf", "a/../c.conf"} {
		f := At(path)
		l := locked(t, f)
		must(t, replace(l, path))
		must(t, l.Close())
		wantContent(t, At(filepath.Join(dir, path)), path)
	}
}

func TestNewFileAndFolderWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	f := At(pathIn(dir + "/etc/portmap"))
	must(t, replace(locked(t, f), "x"))
	for path, want := range map[string]fs.FileMode{
		dir + "/etc":         fs.ModeDir | 0o755,
		dir + "/etc/portmap": fs.ModeDir | 0o755,
		f.Path:               0o644,
		f.Path + ".lock":     0o600,
	} {
		wantMode(t, path, want)
	}
}

func TestModeAndOwnerStay(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 12345, 12346
	}
	f := At(pathIn(t.TempDir()))
	for mode, want := range map[fs.FileMode]fs.FileMode{0o640: 0o640, 0o600: 0o600, 0o664: 0o664,
		fs.ModeSetuid | 0o755: 0o755} {
		put(t, f.Path, "old", 0o600)
		must(t, os.Chown(f.Path, uid, gid))
		must(t, os.Chmod(f.Path, mode))
		l := locked(t, f)
		s, err := l.Stage([]byte("new"))
		must(t, err)
		must(t, s.Commit())
		wantOwned(t, f.Path, want, uid, gid)
		wantContent(t, f, "new")
		must(t, l.Close())
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func wantOwned(t *testing.T, path string, mode fs.FileMode, uid, gid int) {
	t.Helper()
	wantMode(t, path, mode)
	info, err := os.Lstat(path)
	must(t, err)
	if e := entryOf(info); e.uid != uint32(uid) || e.gid != uint32(gid) {
		t.Errorf("%s belongs to %d:%d, want %d:%d", path, e.uid, e.gid, uid, gid)
	}
}

func TestSizeLimit(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	l := locked(t, f)
	_, err := l.Stage(make([]byte, MaxSize+1))
	wantError(t, err, syscall.EFBIG, "write "+f.Path+": file too large")
	s, err := l.Stage(make([]byte, MaxSize))
	must(t, err)
	must(t, s.Discard())

	put(t, f.Path, "", 0o644)
	must(t, os.Truncate(f.Path, MaxSize))
	content, err := f.Read()
	must(t, err)
	if len(content) != MaxSize {
		t.Fatalf("read %d bytes", len(content))
	}
	p, err := resolve(f.Path)
	must(t, err)
	file, info, err := p.open(os.O_RDONLY)
	must(t, err)
	defer file.Close()
	must(t, os.Truncate(f.Path, MaxSize+1))
	_, err = contentOf(file, info) // it grew meanwhile
	wantRefused(t, err, "is larger than 64 MiB")
	_, err = f.Read()
	wantRefused(t, err, "is larger than 64 MiB")
}
