package fault

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// calls says which faults can happen to which system calls, by number.
type calls struct {
	inner, writing map[uint64]bool
	failing        map[uint64]string
}

func newCalls() calls { return calls{innerCalls(), writingCalls(), failingCalls()} }

// canHit reports whether a kind of fault can happen to a call of the program itself, or of a child. The only error for
// a child is EIO: its code is not ours, and one way to fail is enough.
func (c calls) canHit(k Kind, call *call, process int, child bool) bool {
	switch k {
	case Kill:
		return !c.inner[call.number]
	case KillChild:
		return child && !c.inner[call.number]
	case ENOSPC:
		return !child && c.writing[call.number]
	case EINTR:
		if child || neverWaits(process, call) {
			return false
		}
	}
	return c.failing[call.number] != "" || startsProcess(call)
}

// neverWaits reports whether a signal cannot interrupt a call, since its socket does not block.
func neverWaits(process int, call *call) bool {
	switch call.number {
	case unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_RECVFROM, unix.SYS_RECVMSG:
	default:
		return false
	}
	about, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", process, int32(call.arguments[0])))
	_, flags, _ := strings.Cut(string(about), "flags:")
	var bits int
	if _, scan := fmt.Sscanf(flags, "%o", &bits); err != nil || scan != nil {
		return false
	}
	return bits&unix.O_NONBLOCK != 0
}

// worksDespiteError reports whether a call does its work even if it fails: close(2) frees the file descriptor.
func worksDespiteError(call *call) bool { return call.number == unix.SYS_CLOSE }

// innerCalls returns the calls that concern only the memory and threads of a process. A kill before one of them is the
// same as a kill before the next call.
func innerCalls() map[uint64]bool {
	return set(
		unix.SYS_FUTEX, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_BRK,
		unix.SYS_MINCORE,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_TGKILL,
		unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_SCHED_YIELD,
		unix.SYS_SCHED_GETAFFINITY,
		unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
		unix.SYS_UNAME,
		unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_PRLIMIT64, unix.SYS_ARCH_PRCTL, unix.SYS_SET_TID_ADDRESS,
		unix.SYS_GETRANDOM, unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
		unix.SYS_POLL,
		unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_EXIT, unix.SYS_RESTART_SYSCALL,
		unix.SYS_FCNTL, unix.SYS_GETSOCKNAME, unix.SYS_LSEEK,
	)
}

// failingCalls returns the calls that can fail, with their names. It leaves out those of memory, threads and signals: a
// Go program ends when one of them fails, which is the same as a kill.
func failingCalls() map[uint64]string {
	return map[uint64]string{
		unix.SYS_OPEN: "open", unix.SYS_OPENAT: "openat", unix.SYS_CLOSE: "close",
		unix.SYS_READ: "read", unix.SYS_PREAD64: "pread64", unix.SYS_READLINKAT: "readlinkat",
		unix.SYS_GETDENTS64: "getdents64",
		unix.SYS_WRITE:      "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_FTRUNCATE: "ftruncate",
		unix.SYS_TRUNCATE: "truncate",
		unix.SYS_FSYNC:    "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_FLOCK: "flock",
		unix.SYS_RENAME: "rename", unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2",
		unix.SYS_LINK: "link", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
		unix.SYS_UNLINK: "unlink", unix.SYS_UNLINKAT: "unlinkat", unix.SYS_MKDIR: "mkdir", unix.SYS_MKDIRAT: "mkdirat",
		unix.SYS_CHMOD: "chmod", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat",
		unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat",
		unix.SYS_FSETXATTR: "fsetxattr", unix.SYS_FGETXATTR: "fgetxattr", unix.SYS_FLISTXATTR: "flistxattr",
		unix.SYS_FSTAT: "fstat", unix.SYS_NEWFSTATAT: "newfstatat", unix.SYS_STATX: "statx",
		unix.SYS_STATFS: "statfs", unix.SYS_FSTATFS: "fstatfs",
		unix.SYS_SOCKET: "socket", unix.SYS_BIND: "bind", unix.SYS_CONNECT: "connect",
		unix.SYS_GETSOCKOPT: "getsockopt", unix.SYS_SETSOCKOPT: "setsockopt",
		unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_RECVFROM: "recvfrom",
		unix.SYS_RECVMSG:      "recvmsg",
		unix.SYS_MEMFD_CREATE: "memfd_create", unix.SYS_PIPE2: "pipe2", unix.SYS_DUP3: "dup3",
		unix.SYS_EXECVE: "execve", unix.SYS_WAIT4: "wait4", unix.SYS_PIDFD_OPEN: "pidfd_open",
		unix.SYS_SETPGID: "setpgid", unix.SYS_PRCTL: "prctl", unix.SYS_SETNS: "setns",
	}
}

// writingCalls returns the calls that can meet a full disk.
func writingCalls() map[uint64]bool {
	return set(
		unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FSYNC,
		unix.SYS_CLOSE,
		unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINK, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
		unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_FSETXATTR,
	)
}

// startsProcess reports whether a call makes a process, not a thread. Go's runtime ends the program if it cannot make a
// thread.
func startsProcess(c *call) bool {
	return (c.number == unix.SYS_CLONE || c.number == unix.SYS_VFORK || c.number == unix.SYS_FORK) &&
		c.arguments[0]&unix.CLONE_THREAD == 0
}

func set(numbers ...uint64) map[uint64]bool {
	s := make(map[uint64]bool, len(numbers))
	for _, n := range numbers {
		s[n] = true
	}
	return s
}

// suppress makes a call that is about to begin do nothing.
func suppress(tid int) error {
	var registers unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &registers); err != nil {
		return err
	}
	registers.Orig_rax = ^uint64(0) // no call has this number
	return unix.PtraceSetRegs(tid, &registers)
}

// fail makes a call that has ended return an error.
func fail(tid int, errno unix.Errno) error {
	var registers unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &registers); err != nil {
		return err
	}
	registers.Rax = uint64(-int64(errno))
	return unix.PtraceSetRegs(tid, &registers)
}
