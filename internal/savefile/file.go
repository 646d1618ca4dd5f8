package savefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSize is the largest file that is read, in bytes: a hundred times what 65,535 mappings take.
const MaxSize = 64 << 20

// File is a file at a path. What it does to the file system can be made to fail in tests.
type File struct {
	Path        string
	LockTimeout time.Duration // how long Lock waits for another process

	rename  func(from, to string) error
	syncDir func(dir string) error
}

// At returns the file at path. It need not exist.
func At(path string) *File {
	return &File{Path: path, LockTimeout: 30 * time.Second, rename: os.Rename, syncDir: syncDir}
}

// Read returns the content. A file that is missing has none, and that is no error. A file that is no regular file, or that
// an unprivileged user could have put there, is an [*UnsafeError].
func (f *File) Read() ([]byte, error) {
	path, err := f.resolve()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // a FIFO must not hold us up
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, withPath("read", f.Path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, withPath("read", f.Path, err)
	case !info.Mode().IsRegular():
		return nil, &UnsafeError{f.Path, "it is no regular file"}
	case info.Size() > MaxSize:
		return nil, &UnsafeError{f.Path, fmt.Sprintf("it is larger than %d MiB", MaxSize>>20)}
	}
	content := make([]byte, info.Size())
	n, err := io.ReadFull(file, content)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, withPath("read", f.Path, err)
	}
	return content[:n], nil
}

// UnsafeError refuses a file that is not safe to read or to replace.
type UnsafeError struct {
	Path string
	Why  string
}

func (e *UnsafeError) Error() string { return fmt.Sprintf("%s: refused: %s", e.Path, e.Why) }

// resolve follows symbolic links to where the file really is. In a folder that others can write, such as /tmp, any of them
// could have put a link there and so choose which file root reads or writes; there a link is refused.
func (f *File) resolve() (string, error) {
	path := f.Path
	for range 16 {
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link, or nothing there yet
		}
		dir := filepath.Dir(path)
		info, err := os.Stat(dir)
		if err != nil {
			return "", withPath("read", f.Path, err)
		}
		if info.Mode().Perm()&0o022 != 0 {
			return "", &UnsafeError{f.Path, fmt.Sprintf("%s is a symbolic link in a folder that others can write", path)}
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", &UnsafeError{f.Path, "too many symbolic links"}
}

// withPath names what was being done, and keeps the errno for errors.Is.
func withPath(verb, path string, err error) error {
	var pathError *fs.PathError
	var linkError *os.LinkError
	switch {
	case errors.As(err, &pathError):
		err = pathError.Err
	case errors.As(err, &linkError):
		err = linkError.Err
	}
	return fmt.Errorf("%s %s: %w", verb, path, err)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
