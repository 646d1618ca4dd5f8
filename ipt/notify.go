package ipt

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"
	"unsafe"

	"portmap/rules/notify"

	"golang.org/x/sys/unix"
)

// Changes looks at the nat tables of iptables-legacy. The kernel sends no notices of their changes, but one look is two
// system calls and no process, so it can be had many times a second. A mark is a hash of what a look sees: how many
// rules there are, how long they are and where the chains begin. Counters have no part in it. Rules that were exchanged
// for others of the same size look the same. It is a [notify.Source].
type Changes struct {
	v4, v6 int // sockets; of which kind does not matter
	seed   maphash.Seed
}

// tableInfo is struct ipt_getinfo, and ip6t_getinfo alike (linux/netfilter_ipv4/ip_tables.h).
type tableInfo struct {
	name      [32]byte
	hooks     uint32
	entry     [5]uint32
	underflow [5]uint32
	rules     uint32
	size      uint32
}

const getInfo = 64 // IPT_SO_GET_INFO, IP6T_SO_GET_INFO

// ListenLegacy opens it for the network namespace of the thread. Looks need CAP_NET_ADMIN.
func ListenLegacy() (*Changes, error) {
	v4, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("iptables: %w", err)
	}
	v6, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		v6 = -1 // a kernel without IPv6
	}
	return &Changes{v4, v6, maphash.MakeSeed()}, nil
}

// Mark returns a hash of the tables. One that is not there counts as empty.
func (c *Changes) Mark() (uint64, error) {
	v4, err := tableOf(c.v4, unix.IPPROTO_IP)
	if err != nil || c.v6 < 0 {
		return maphash.Comparable(c.seed, [2]tableInfo{v4}), err
	}
	v6, err := tableOf(c.v6, unix.IPPROTO_IPV6)
	return maphash.Comparable(c.seed, [2]tableInfo{v4, v6}), err
}

// After reports whether the tables are not the same.
func (c *Changes) After(mark, known uint64) bool { return mark != known }

// Known is what the look saw, if it changed nothing. A change of its own leaves the tables as they were known, or is
// looked at once more: another program may have been there right after it.
func (c *Changes) Known(known, before, _ uint64, changed bool) uint64 {
	if changed {
		return known
	}
	return before
}

// Notices returns nil: nobody tells.
func (c *Changes) Notices(context.Context) <-chan notify.Notice { return nil }

// Every returns how long a change may go unnoticed.
func (c *Changes) Every() time.Duration { return 20 * time.Millisecond }

func tableOf(socket, level int) (tableInfo, error) {
	info := tableInfo{name: [32]byte{'n', 'a', 't'}}
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	switch errno {
	case 0:
		return info, nil
	case unix.ENOENT, unix.ENOPROTOOPT:
		return tableInfo{}, nil
	}
	return tableInfo{}, fmt.Errorf("iptables: look at the nat table: %w", errno)
}

// Close ends it.
func (c *Changes) Close() error {
	err := unix.Close(c.v4)
	if c.v6 >= 0 {
		err = errors.Join(err, unix.Close(c.v6))
	}
	return err
}
