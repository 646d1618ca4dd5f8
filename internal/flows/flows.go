// Package flows makes connection tracking forget what a change of mappings has made untrue. NAT is decided by
// the first packet of a flow. Without this, a UDP or QUIC flow goes its old way for minutes after the change,
// and a connection to a removed mapping goes on.
package flows

import (
	"errors"
	"fmt"

	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change is what became of the mappings. It tells more than the transaction in the kernel: others may have
// flushed the rules before it, and the flows that those rules had translated go on.
type Change struct {
	Removed  []rules.Mapping // the file or the kernel had them: they may have translated flows
	Added    []rules.Mapping // put into the kernel; one that only got a name is in both lists
	Restored []rules.Mapping // those of Added that the kernel had lost: what they said before that is not known
	After    []rules.Set     // what should be live now, file by file
}

// concerns reports whether there can be flows to forget. A new mapping for TCP makes nothing untrue, and the
// table, which may hold hundreds of thousands of flows, need not be read.
func (c Change) concerns() bool {
	for i := range c.Added {
		if c.Added[i].Protocols().Has(rules.UDP) {
			return true
		}
	}
	return len(c.Removed) > 0
}

// Forget deletes the entries of flows that go another way under the new rules:
//   - flows that a removed mapping translated, and that no mapping sends there now;
//   - UDP flows that are not translated, and that an added mapping claims. An established TCP connection to a
//     server on the listen port itself is left to end by itself;
//   - UDP flows that go to another port of the same address, and that a restored mapping claims.
//
// Of several targets the flows to those that stay go on. Flows that another rule sent to another address are not
// touched, and neither are flows that this host forwards by themselves.
func Forget(c Change) error {
	if !c.concerns() {
		return nil
	}
	f := newFilter(c, &network{})
	var errs []error
	for _, family := range [...]netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		gone := errors.Is(err, unix.ENOENT) // by itself meanwhile
		if err != nil && !gone && !errors.Is(err, netlink.ErrDumpInterrupted) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("connection tracking: %w", err)
	}
	return nil
}
