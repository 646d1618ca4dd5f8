package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// MaxSize is the largest content that is read or written, in bytes: about fifty times that of 60,000 mappings.
const MaxSize = 64 << 20

// File is a text file that is replaced atomically. Errors of its methods name Path; a [*RefusedError] in them says that
// the path is not safe, and an errno is reachable with errors.Is.
type File struct {
	Path string // absolute, or relative to the working directory at the time of the call

	// LockTimeout is how long Lock waits for other processes. 0 stands for 30 seconds; less than 0 means not to wait.
	LockTimeout time.Duration

	calls *calls // nil for the system's
}

// calls are the steps of a change that never fail on a healthy file system; tests replace them.
type calls struct {
	rename     func(from, to string) error
	sync       func(file *os.File) error
	syncFolder func(path string) error
}

// At returns the File at a path. It does not access it.
func At(path string) *File { return &File{Path: path} }

func (f *File) system() calls {
	if f.calls != nil {
		return *f.calls
	}
	return calls{os.Rename, (*os.File).Sync, syncFolder}
}

// Read returns the content: nil if the file or its folder is missing, empty and not nil if the file is empty. A
// symbolic link that leads nowhere is a [*DanglingLinkError].
//
// It takes no lock: a file that is replaced atomically is always complete. If a file that is mounted by itself is half
// written, Read returns its intended content.
func (f *File) Read() ([]byte, error) {
	content, err := f.read()
	return content, failed("read", f.Path, err)
}

func (f *File) read() ([]byte, error) {
	p, err := resolve(f.Path)
	if err != nil {
		return nil, err
	}
	for {
		before := p.revision()
		content, err := p.content()
		if content == nil || err != nil {
			return nil, err
		}
		whole, err := p.intendedContent(content)
		switch {
		case errors.Is(err, fs.ErrPermission): // only root may be able to read a leftover
			return content, nil
		case err != nil || before == p.revision():
			return whole, err
		} // else the file was written meanwhile
	}
}

// content reads the file as it is.
func (p place) content() ([]byte, error) {
	file, info, err := p.open(os.O_RDONLY)
	if file == nil || err != nil {
		return nil, err
	}
	defer file.Close()
	return contentOf(file, info)
}

// contentOf reads an open file from its beginning. The size is only a hint: an editor may change the file meanwhile.
func contentOf(file *os.File, info fs.FileInfo) ([]byte, error) {
	content := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := content.ReadFrom(io.NewSectionReader(file, 0, MaxSize+1)); err != nil {
		return nil, err
	}
	if content.Len() > MaxSize {
		return nil, &RefusedError{file.Name(), tooLarge}
	}
	return content.Bytes(), nil
}
