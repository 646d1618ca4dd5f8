package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// place is the target of a path: links are resolved, and every step of the path is safe.
type place struct {
	path   string // absolute
	folder *entry // the folder that holds it; nil if that is missing
	user   user
}

// maxLinks is how many links the kernel follows in one path (MAXSYMLINKS, include/linux/namei.h).
const maxLinks = 40

// resolve walks a path step by step, as the kernel does, and refuses a step that is not safe.
func resolve(path string) (place, error) {
	w := walk{user: currentUser(), rest: path}
	if path == "" {
		return place{}, syscall.ENOENT
	}
	if !filepath.IsAbs(path) {
		here, err := os.Getwd()
		if err != nil {
			return place{}, err
		}
		w.rest = here + "/" + path
	}
	if err := w.enter("/"); err != nil {
		return place{}, err
	}
	for w.end == nil { // bounded: each step takes a name, and links are counted
		if w.rest == "" {
			return place{}, &RefusedError{w.at, isFolder}
		}
		name, rest, _ := strings.Cut(w.rest, "/")
		w.rest = rest
		if err := w.step(name); err != nil {
			return place{}, err
		}
	}
	return *w.end, nil
}

// walk is the state of resolve.
type walk struct {
	user   user
	at     string // the current folder, without links
	folder entry  // its attributes
	rest   string // the rest of the path
	links  []followed
	end    *place // nil before the end of the path
}

// followed is a symbolic link on the path.
type followed struct {
	path  string
	after int // the length of the rest of the path after its target
}

func (w *walk) enter(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	w.at, w.folder = path, folderEntry(path, info)
	return nil
}

// step takes one name of the path.
func (w *walk) step(name string) error {
	switch name {
	case "", ".":
		return nil
	case "..":
		return w.enter(filepath.Dir(w.at))
	}
	path := filepath.Join(w.at, name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return w.missing(path)
	}
	if err != nil {
		return err
	}
	e := entryOf(info)
	if why := w.user.objection(w.folder, &e); why != "" {
		return &RefusedError{path, why}
	}
	switch {
	case e.is(fs.ModeSymlink):
		return w.follow(path)
	case e.is(fs.ModeDir):
		w.at, w.folder = path, folderEntry(path, info)
		return nil
	case strings.Trim(w.rest, "/") != "":
		return syscall.ENOTDIR
	}
	if why := e.unfit(info.Size()); why != "" {
		return &RefusedError{path, why}
	}
	w.end = &place{path, &w.folder, w.user}
	return nil
}

// missing ends the walk at a file or folder that does not exist yet.
func (w *walk) missing(path string) error {
	if why := w.user.objection(w.folder, nil); why != "" {
		return &RefusedError{path, why}
	}
	below := strings.FieldsFunc(w.rest, func(r rune) bool { return r == '/' })
	if slices.Contains(below, "..") {
		return syscall.ENOENT // a missing folder has no parent
	}
	w.end = &place{filepath.Join(append([]string{path}, below...)...), &w.folder, w.user}
	if filepath.Dir(w.end.path) != w.at {
		w.end.folder = nil
	}
	for _, link := range w.links {
		if len(w.rest) >= link.after { // the missing part belongs to its target
			return &DanglingLinkError{Link: link.path, Target: w.end.path}
		}
	}
	return nil
}

func (w *walk) follow(path string) error {
	if w.links = append(w.links, followed{path, len(w.rest)}); len(w.links) > maxLinks {
		return syscall.ELOOP
	}
	// Links of /proc lead to the open files of a process; their text is not a path (proc_pid_fd(5)). So
	// `--config <(...)` would look like a missing file.
	var system unix.Statfs_t
	if err := unix.Statfs(w.at, &system); err != nil {
		return err
	}
	if system.Type == unix.PROC_SUPER_MAGIC {
		return &RefusedError{path, "is a link of /proc, not a file"}
	}
	target, err := os.Readlink(path)
	if err != nil {
		return err
	}
	w.rest = target + "/" + w.rest
	if filepath.IsAbs(target) {
		return w.enter("/")
	}
	return nil
}

// open opens the file, with a flag of open(2); nil if there is none. It checks the file again, since it may be new.
func (p place) open(flag int) (*os.File, fs.FileInfo, error) {
	if p.folder == nil {
		return nil, nil, nil
	}
	// O_NONBLOCK: if it has become a FIFO, do not wait for its writer.
	file, err := os.OpenFile(p.path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if errors.Is(err, syscall.ELOOP) {
		return nil, nil, &RefusedError{p.path, "became a symbolic link"}
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = p.check(p.path, info)
	}
	if err != nil {
		return nil, nil, joinCleanup(err, file.Close())
	}
	return file, info, nil
}

// check refuses a file in the folder if it is not safe or not suitable.
func (p place) check(path string, info fs.FileInfo) error {
	e := entryOf(info)
	why := p.user.objection(*p.folder, &e)
	if why == "" {
		why = e.unfit(info.Size())
	}
	if why != "" {
		return &RefusedError{path, why}
	}
	return nil
}
