package ipt

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"portmap/rules/notify"

	"golang.org/x/sys/unix"
)

// Changes looks at the tables of iptables-legacy that can hold rules of ours. The kernel sends no notices of their
// changes, but one look is a system call a table and no process, so it can be had many times a second. A mark is a hash
// of what a look sees: how many rules there are, how long they are and where the chains begin. Counters have no part in
// it. Rules that were exchanged for others of the same size look the same. It is a [notify.Source].
type Changes struct {
	families []*legacyFamily
	seed     maphash.Seed
}

// legacyFamily is the tables of one address family.
type legacyFamily struct {
	socket int // of which kind does not matter
	level  int
	names  *os.File // lists the tables that are there; nil if it cannot be read
	there  [len(ownTables)]bool
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
	c := &Changes{seed: maphash.MakeSeed()}
	for _, f := range [...]struct {
		domain, level int
		names         string
	}{{unix.AF_INET, unix.IPPROTO_IP, legacyNames}, {unix.AF_INET6, unix.IPPROTO_IPV6, legacyNames6}} {
		socket, err := unix.Socket(f.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		switch {
		case err != nil && f.domain == unix.AF_INET6: // a kernel without IPv6
		case err != nil:
			return nil, fmt.Errorf("iptables: %w", err)
		default:
			names, _ := os.Open(f.names)
			c.families = append(c.families, &legacyFamily{socket: socket, level: f.level, names: names})
		}
	}
	return c, nil
}

// Mark returns a hash of the tables. One that is not there counts as empty.
func (c *Changes) Mark() (uint64, error) {
	var seen [2][len(ownTables)]tableInfo
	for i, f := range c.families {
		for number, t := range ownTables {
			if !f.has(number) {
				continue
			}
			var err error
			if seen[i][number], err = f.look(t); err != nil {
				return 0, err
			}
		}
	}
	return maphash.Comparable(c.seed, seen), nil
}

// has reports whether a table is there: a look would make it. The table nat is looked at anyway.
func (f *legacyFamily) has(number int) bool {
	if ownTables[number] == nat || f.there[number] {
		return true
	}
	if f.names != nil {
		buffer := make([]byte, 1024)
		n, _ := f.names.ReadAt(buffer, 0)
		f.there[number] = slices.Contains(strings.Fields(string(buffer[:n])), string(ownTables[number]))
	}
	return f.there[number]
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

func (f *legacyFamily) look(t table) (info tableInfo, err error) {
	copy(info.name[:], t)
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(f.socket), uintptr(f.level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	switch errno {
	case 0:
		return info, nil
	case unix.ENOENT, unix.ENOPROTOOPT:
		return tableInfo{}, nil
	}
	return tableInfo{}, fmt.Errorf("iptables: look at the table %s: %w", t, errno)
}

// Close ends it.
func (c *Changes) Close() error {
	var errs []error
	for _, f := range c.families {
		errs = append(errs, unix.Close(f.socket))
		if f.names != nil {
			errs = append(errs, f.names.Close())
		}
	}
	return errors.Join(errs...)
}
