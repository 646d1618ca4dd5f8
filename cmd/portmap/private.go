package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"unsafe"

	"portmap/internal/conf"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// privateError is what is said about a line of a file that whoever typed sudo may not read: which, and what is wrong,
// and nothing of what stands there. With sudo for portmap alone, an error that quotes a line would be a way to read any
// file.
type privateError struct {
	file, user string
	line       int
	why        string
}

func (e *privateError) Error() string {
	return fmt.Sprintf("%s: line %d: %s; it is not shown, since %s may not read the file", e.file, e.line, e.why,
		e.user)
}

// withoutQuotes takes out of an error about a line what the line says.
func (a *app) withoutQuotes(err error) error {
	n := a.notShown
	var line *conf.LineError
	if n == nil || !errors.As(err, &line) {
		return err
	}
	e := &privateError{n.file, n.user, line.Line, "does not go with another line"}
	var invalid *rules.InvalidError
	if errors.As(err, &invalid) {
		e.why = "not a mapping"
	}
	if errors.As(err, new(*rules.UnsupportedError)) {
		e.why = "not supported by this version"
	}
	return e
}

// open opens a file that was named on the command line, with a flag of open(2). Errors about lines are about that file
// from now on: under sudo, those of one that the user could not have opened quote nothing.
func (a *app) open(file string, flag int) (*os.File, error) {
	a.notShown = nil
	uid, err := strconv.Atoi(a.getenv("SUDO_UID"))
	if err != nil || uid == 0 || os.Geteuid() != 0 {
		return os.OpenFile(file, flag, 0)
	}
	gid, err := strconv.Atoi(a.getenv("SUDO_GID"))
	if err != nil {
		gid = overflowID
	}
	if f, err := openAs(uid, gid, file, flag); err == nil {
		return f, nil
	}
	a.notShown = &notShown{file, "user " + strconv.Itoa(uid)}
	if name := a.getenv("SUDO_USER"); name != "" {
		a.notShown.user = rules.Printable(name)
	}
	return os.OpenFile(file, flag, 0)
}

// lookAtConfig finds out whether lines of the file of --config may be quoted. What else is wrong with it shows later.
func (a *app) lookAtConfig() {
	if f, err := a.open(a.config, unix.O_NONBLOCK); err == nil { // should it be a FIFO, do not wait for its writer
		f.Close()
	}
}

// overflowID is the group of nobody (user_namespaces(7)).
const overflowID = 65534

// notShown is a file of which nothing is quoted, and for whom.
type notShown struct{ file, user string }

// openAs opens a file as another user would, with that user's groups: both are a thread's own to the kernel
// (setfsuid(2)), which then also takes the capabilities away that pass by permissions (capabilities(7)). The thread
// ends with it.
func openAs(uid, gid int, path string, flag int) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	opened := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		file, err := (*os.File)(nil), beUser(uid, gid)
		if err == nil {
			file, err = os.OpenFile(path, flag, 0)
		}
		opened <- result{file, err}
	}()
	r := <-opened
	return r.file, r.err
}

func beUser(uid, gid int) error {
	groups := []uint32{uint32(gid)}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		ids, _ := u.GroupIds() // with fewer groups less can be read
		for _, id := range ids {
			if n, err := strconv.ParseUint(id, 10, 32); err == nil {
				groups = append(groups, uint32(n))
			}
		}
	}
	// Not syscall.Setgroups, which is for all threads of the process.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])),
		0); errno != 0 {
		return errno
	}
	if err := unix.Setfsgid(gid); err != nil {
		return err
	}
	return unix.Setfsuid(uid)
}
