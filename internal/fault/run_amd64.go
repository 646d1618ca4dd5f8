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
	Args   []string // the first one is the name of the program
	Env    []string
	Within time.Duration // after this time it is killed, with all its children
}

// Result is the result of a run.
type Result struct {
	Out, Err string
	Code     int          // -1 if a signal ended it
	Killed   bool         // a signal ended it
	Hit      string       // the call with the fault, in words; "" if the run ended before
	Counts   map[Kind]int // for each kind, the number of calls that it could hit; of the fault's own as it counts them
	Late     bool         // it did not end in time
	Left     []string     // processes that still ran a while after its end
}

// Run runs a program until it and all processes below it have ended. The caller calls it on a locked thread and does
// not unlock that, since all calls of ptrace(2) must come from the first thread. The output of the program goes to
// files in memory.
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
