package fault

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run.
type Command struct {
	Path   string
	Args   []string // with the name of the program
	Env    []string
	Within time.Duration // then it is killed, with all that it has started
}

// Result is what came of a run.
type Result struct {
	Out, Err string
	Code     int          // -1 when a signal ended it
	Killed   bool         // by a signal, its own fault's or another
	Hit      string       // the call that the fault came to, in words; "" where the run ended before
	Counts   map[Kind]int // how many calls each kind of fault could have come to
	Late     bool         // it did not end in time
	Left     []string     // processes that were still there a while after it had ended
}

// Run runs a program until it and all processes below it have ended. It is to be called on a thread of its own, which
// the caller does not give back, since all calls of ptrace(2) come from the thread that began. What the program prints
// goes to files in memory.
func Run(c Command, f Fault) (Result, error) {
	runtime.LockOSThread()
	var files [2]*os.File
	for i := range files {
		fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
		if err != nil {
			return Result{}, fmt.Errorf("memfd_create: %w", err)
		}
		files[i] = os.NewFile(uintptr(fd), "output")
		defer files[i].Close()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return Result{}, err
	}
	defer null.Close()
	root, err := syscall.ForkExec(c.Path, c.Args, &syscall.ProcAttr{
		Env:   c.Env,
		Files: []uintptr{null.Fd(), files[0].Fd(), files[1].Fd()},
		Sys:   &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return Result{}, fmt.Errorf("start %s: %w", c.Path, err)
	}
	t := newTracer(root, f)
	t.limit(c.Within)
	if err := t.follow(); err != nil {
		return Result{}, err
	}
	t.mu.Lock() // the timer may be at work
	defer t.mu.Unlock()
	out, err := contentOf(files[0])
	if err != nil {
		return Result{}, err
	}
	said, err := contentOf(files[1])
	t.result.Out, t.result.Err = out, said
	return t.result, err
}

func contentOf(file *os.File) (string, error) {
	content, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<20))
	return string(content), err
}
