package fault

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracer follows a program and its children.
type tracer struct {
	root   int
	fault  Fault
	calls  calls
	result Result

	threads map[int]*thread
	timer   *time.Timer
	mu      sync.Mutex   // guards result and alive, which the timer uses
	alive   map[int]bool // processes
}

// thread is a traced thread.
type thread struct {
	process int
	returns unix.Errno // the error that its present call is to return; 0 for no change
}

// call is a system call that is about to begin. It is struct ptrace_syscall_info (include/uapi/linux/ptrace.h), with
// the part of an entry after the stack pointer.
type call struct {
	op        uint8
	_         [3]byte
	_         uint32
	_, _      uint64
	number    uint64
	arguments [6]uint64
}

const (
	opEntry = 1 // PTRACE_SYSCALL_INFO_ENTRY
	opExit  = 2

	callStop  = unix.SIGTRAP | 0x80 // the signal with PTRACE_O_TRACESYSGOOD
	leftAfter = 2 * time.Second     // a child that outlives the program for longer counts as left
	options   = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACEEXEC |
		unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK
)

func newTracer(root int, f Fault) *tracer {
	return &tracer{
		root: root, fault: f, calls: newCalls(),
		result:  Result{Counts: map[Kind]int{}},
		threads: map[int]*thread{},
		alive:   map[int]bool{root: true},
	}
}

// limit kills all processes when the time is over.
func (t *tracer) limit(within time.Duration) {
	t.timer = time.AfterFunc(within, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.result.Late = t.alive[t.root]
		for process := range t.alive {
			if process != t.root && !t.result.Late {
				t.result.Left = append(t.result.Left, commandLine(process))
			}
			_ = unix.Kill(process, unix.SIGKILL)
		}
	})
}

// follow handles stops until all processes have ended.
func (t *tracer) follow() error {
	defer t.timer.Stop()
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return fmt.Errorf("wait4: %w", err)
		case status.Stopped():
			if err := t.stopped(tid, status); err != nil && !errors.Is(err, unix.ESRCH) { // it was killed meanwhile
				return fmt.Errorf("ptrace: %w", err)
			}
		default:
			t.ended(tid, status)
		}
	}
}

func (t *tracer) ended(tid int, status unix.WaitStatus) {
	delete(t.threads, tid)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.alive, tid)
	if tid == t.root {
		t.result.Code, t.result.Killed = status.ExitStatus(), status.Signaled()
		t.timer.Reset(leftAfter)
	}
}

// stopped handles a stop of a thread, and lets the thread go on.
func (t *tracer) stopped(tid int, status unix.WaitStatus) error {
	thread, known := t.threads[tid]
	signal := 0
	switch stop := status.StopSignal(); {
	case !known: // the thread begins, with a SIGTRAP after execve or with a SIGSTOP
		if err := t.begin(tid); err != nil {
			return err
		}
	case stop == callStop:
		if err := t.atCall(tid, thread); err != nil {
			return err
		}
	case stop != unix.SIGTRAP: // SIGTRAP is an event of ptrace
		signal = int(stop)
	}
	if t.result.Hit != "" && (thread == nil || thread.returns == 0) {
		return unix.PtraceCont(tid, signal) // no need to stop at further calls
	}
	return unix.PtraceSyscall(tid, signal)
}

func (t *tracer) begin(tid int) error {
	process, err := processOf(tid)
	if err != nil {
		return err
	}
	t.threads[tid] = &thread{process: process}
	t.mu.Lock()
	t.alive[process] = true
	t.mu.Unlock()
	if tid == t.root {
		return unix.PtraceSetOptions(tid, options) // children inherit them
	}
	return nil
}

// processOf returns the process that a thread belongs to.
func processOf(tid int) (process int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, unix.ESRCH
	}
	_, rest, _ := strings.Cut(string(status), "\nTgid:")
	_, err = fmt.Sscan(rest, &process)
	return process, err
}

// atCall handles the beginning or the end of a system call.
func (t *tracer) atCall(tid int, thread *thread) error {
	var c call
	if err := callInfo(tid, &c); err != nil {
		return err
	}
	switch {
	case c.op == opExit && thread.returns != 0:
		errno := thread.returns
		thread.returns = 0
		return fail(tid, errno)
	case c.op == opEntry && t.counts(&c, thread.process):
		t.result.Hit = t.words(&c, thread.process)
		return t.hit(tid, thread, &c)
	}
	return nil
}

func callInfo(tid int, c *call) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(*c),
		uintptr(unsafe.Pointer(c)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (t *tracer) words(c *call, process int) string {
	return describe(process, t.root, t.calls.failing[c.number], c)
}

// counts counts a call, and reports whether it is the one for the fault.
func (t *tracer) counts(c *call, process int) (isIt bool) {
	for _, kind := range Kinds() {
		chosen := kind != t.fault.Kind || t.fault.At == "" || strings.Contains(t.words(c, process), t.fault.At)
		if chosen && t.calls.canHit(kind, c, process, process != t.root) {
			t.result.Counts[kind]++
			isIt = isIt || kind == t.fault.Kind && t.result.Counts[kind] == t.fault.N
		}
	}
	return isIt
}

func (t *tracer) hit(tid int, thread *thread, c *call) error {
	switch t.fault.Kind {
	case Kill:
		return unix.Kill(t.root, unix.SIGKILL)
	case KillChild:
		return unix.Kill(thread.process, unix.SIGKILL)
	}
	thread.returns = t.fault.Kind.errno()
	if worksDespiteError(c) {
		return nil
	}
	return suppress(tid)
}
