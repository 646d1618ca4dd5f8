// Package flows deletes the connection tracking entries that a change of mappings makes outdated. The first packet of a
// flow decides its NAT. Without this, a UDP or QUIC flow goes its old way for minutes after the change, and a
// connection to a removed mapping goes on.
package flows

import (
	"errors"
	"fmt"

	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Change is a change of mappings. It can be larger than the transaction in the kernel: others may have flushed the
// rules before it, and the flows that those rules had translated go on.
type Change struct {
	Removed  []rules.Mapping // the file or the kernel had them: they may have translated flows
	Added    []rules.Mapping // put into the kernel; a mapping that only got a name is in both lists
	Restored []rules.Mapping // those of Added that the kernel had lost; their earlier form is unknown
	After    []rules.Set     // what should be live now, one Set a file
}

// mayOutdate reports whether there can be flows to delete. A new mapping for TCP makes none outdated, so the table,
// which may hold hundreds of thousands of flows, need not be read.
func (c Change) mayOutdate() bool {
	for i := range c.Added {
		if c.Added[i].Protocols().Has(rules.UDP) {
			return true
		}
	}
	return len(c.Removed) > 0
}

// Forget deletes the entries of flows whose destination differs under the new rules:
//   - flows that a removed mapping translated, and that no mapping sends there now;
//   - UDP flows that are not translated, and that an added mapping claims. An established TCP connection to a
//     server on the listen port itself is left to end by itself;
//   - UDP flows that go directly to a target port that an added mapping hides;
//   - UDP flows that go to another port of the same address, and that a restored mapping claims.
//
// If a mapping loses one of several targets, flows to the others go on. Flows that a foreign rule sent to another
// address are not touched, and neither are flows that this host forwards without a mapping.
func Forget(c Change) error {
	if !c.mayOutdate() {
		return nil
	}
	f := newFilter(c, &network{})
	var errs []error
	for _, family := range [...]netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		gone := errors.Is(err, unix.ENOENT) // the entry ended meanwhile
		if err != nil && !gone && !errors.Is(err, netlink.ErrDumpInterrupted) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("connection tracking: %w", err)
	}
	return nil
}
