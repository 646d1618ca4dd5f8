package watch

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Legacy looks at the nat tables of iptables-legacy, of which no notification tells. A glance is two system calls, and no
// process: it can be had many times a second.
type Legacy struct{ v4, v6 int } // sockets; of which kind does not matter

// Shape is what a glance sees: how many rules there are, how long they are and where the chains begin. Counters have no part
// in it. Rules that were exchanged for others of the same size look the same.
type Shape [2]tableInfo

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

// OpenLegacy opens it for the network namespace of the thread. Glances need CAP_NET_ADMIN.
func OpenLegacy() (*Legacy, error) {
	v4, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("iptables: %w", err)
	}
	v6, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		v6 = -1 // a kernel without IPv6
	}
	return &Legacy{v4, v6}, nil
}

// Glance returns the shape of the tables. One that is not there is empty.
func (l *Legacy) Glance() (s Shape, err error) {
	if s[0], err = glance(l.v4, unix.IPPROTO_IP); err != nil || l.v6 < 0 {
		return s, err
	}
	s[1], err = glance(l.v6, unix.IPPROTO_IPV6)
	return s, err
}

func glance(socket, level int) (tableInfo, error) {
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
func (l *Legacy) Close() error {
	err := unix.Close(l.v4)
	if l.v6 >= 0 {
		err = errors.Join(err, unix.Close(l.v6))
	}
	return err
}
