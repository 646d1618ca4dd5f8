package lab

import (
	"errors"
	"runtime"
	"runtime/debug"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Kernel says what a host's kernel lacks of netfilter's netlink, as a program sees it.
type Kernel int

// The kernels.
const (
	Whole Kernel = iota
	// NoTables has nfnetlink without nf_tables and ctnetlink: it answers their messages with EINVAL
	// (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg).
	NoTables
	// NoNfnetlink has no nfnetlink: socket(2) fails with EPROTONOSUPPORT (net/netlink/af_netlink.c, netlink_create).
	NoNfnetlink
)

// On returns the same host on another kernel. That holds for the functions that it runs and the programs they start.
//
// With NoTables the garbage collector is off until the test ends. A function that waits for a socket from
// replaceSockets is in a system call that the Go scheduler expects to be short. A collector that stops the process
// would wait for it, and replaceSockets for the collector.
func (h *Host) On(k Kernel) *Host {
	if k == NoTables {
		percent := debug.SetGCPercent(-1)
		runtime.GC() // wait for a collection that has begun
		h.t.Cleanup(func() { debug.SetGCPercent(percent) })
	}
	other := *h
	other.kernel = k
	return &other
}

// enter puts this thread, and the programs that it starts, on the host's kernel. It cannot be undone for a thread.
func (h *Host) enter() error {
	switch h.kernel {
	case NoTables:
		listener, err := filterNfnetlink(unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
		if err == nil {
			go h.replaceSockets(listener)
		}
		return err
	case NoNfnetlink:
		_, err := filterNfnetlink(unix.SECCOMP_RET_ERRNO|uint32(unix.EPROTONOSUPPORT), 0)
		return err
	}
	return nil
}

// filterNfnetlink makes seccomp(2) answer only socket(AF_NETLINK, type, NETLINK_NETFILTER). The offsets are those of
// struct seccomp_data on a little-endian machine.
func filterNfnetlink(answer uint32, flags uintptr) (listener int, err error) {
	const number, domain, protocol = 0, 16, 32
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	program := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 5),
		load(domain), unless(unix.AF_NETLINK, 3),
		load(protocol), unless(unix.NETLINK_NETFILTER, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: answer},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	// Without PR_SET_NO_NEW_PRIVS seccomp(2) needs CAP_SYS_ADMIN.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// socketCall is struct seccomp_notif (linux/seccomp.h): a call of socket(2) that waits for its answer.
type socketCall struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	pointer    uint64
	args       [6]uint64
}

// socketAnswer is struct seccomp_notif_resp.
type socketAnswer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// addedSocket is struct seccomp_notif_addfd.
type addedSocket struct {
	id                           uint64
	flags, from, number, fdFlags uint32
}

// replaceSockets answers each call with a socket of sock_diag, which answers EINVAL to all messages of nfnetlink
// (net/core/sock_diag.c, sock_diag_rcv_msg). It ends with the last process that has the filter.
func (h *Host) replaceSockets(listener int) {
	defer func() { _ = unix.Close(listener) }()
	runtime.LockOSThread() // and never unlocked: the thread belongs to the host now, and ends
	inside := netns.Set(h.ns)
	for {
		waiting := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(waiting, -1); err != nil && err != unix.EINTR || waiting[0].Revents&unix.POLLHUP != 0 {
			return
		}
		var call socketCall
		if waiting[0].Revents == 0 {
			continue
		}
		if _, err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&call)); err != nil {
			continue // the caller was killed, or repeats the call after a signal
		}
		answer := socketAnswer{id: call.id}
		fd, err := replaceSocket(listener, call)
		if err = errors.Join(inside, err); err != nil {
			answer.errno = -int32(unix.EIO)
		}
		answer.value = int64(fd)
		_, _ = ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)) // fails if the caller was killed
	}
}

// replaceSocket gives the caller a socket, and returns its file descriptor there. SECCOMP_ADDFD_FLAG_SEND would answer,
// too, but with a wrong number if this thread gets a signal meanwhile (kernel/seccomp.c, seccomp_notify_addfd).
func replaceSocket(listener int, call socketCall) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, int(call.args[1])|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	added := addedSocket{id: call.id, from: uint32(fd), fdFlags: uint32(call.args[1]) & unix.SOCK_CLOEXEC}
	return ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&added))
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) (int, error) {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return 0, errno
	}
	return int(result), nil
}
