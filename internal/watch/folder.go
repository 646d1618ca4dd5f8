package watch

import (
	"io"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Folder reports when a file may have changed. It watches the folder, because a rename replaces the file.
type Folder struct {
	path    string
	watcher *fsnotify.Watcher
	last    os.FileInfo // nil if the file is missing
}

// FolderOf begins to watch the folder of a file. Both may be missing.
func FolderOf(path string) (*Folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	f := &Folder{path: path, watcher: watcher}
	f.Differs()
	return f, nil
}

// Differs reports whether the file has changed since the last call. It finds changes without an event: a file behind a
// symbolic link, a folder that was replaced, a file system of another machine.
func (f *Folder) Differs() bool {
	_ = f.watcher.Add(filepath.Dir(f.path)) // again: the folder may be a new one
	now, err := os.Stat(f.path)
	if err != nil {
		now = nil
	}
	before := f.last
	f.last = now
	if now == nil || before == nil {
		return now != before
	}
	return !os.SameFile(now, before) || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())
}

// Unfinished reports whether the file seems to be half written: it is empty, missing, or does not end with a newline.
// No event says that a writer closed it (inotify(7) has one, fsnotify does not pass it on).
func (f *Folder) Unfinished() bool {
	file, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NONBLOCK, 0) // of a FIFO, do not wait for the writer
	if err != nil {
		return true
	}
	defer file.Close()
	last := make([]byte, 1)
	if _, err := file.Seek(-1, io.SeekEnd); err != nil {
		return true
	}
	_, err = file.Read(last)
	return err != nil || last[0] != '\n'
}

// Events returns the changes of the folder; see About.
func (f *Folder) Events() <-chan fsnotify.Event { return f.watcher.Events }

// Errors returns the errors, which must be read as Events are. An error means that an event was lost.
func (f *Folder) Errors() <-chan error { return f.watcher.Errors }

// About reports whether an event is about the file.
func (f *Folder) About(e fsnotify.Event) bool { return filepath.Base(e.Name) == filepath.Base(f.path) }

// Close ends the watching.
func (f *Folder) Close() error { return f.watcher.Close() }
