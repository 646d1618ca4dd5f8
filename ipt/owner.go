package ipt

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
)

// With --owner, an answer on a mapping leaves only if it comes from a socket of the owner or of root. The jump in
// OUTPUT asks whether the packet is an answer on a translated flow and has a socket of another user than root; packets
// of other flows meet its first question. The tree below it goes by the port that was asked for, and its leaves drop
// what leaves from the target port and is not the owner's.
//
// The address of a mapping with a listen address is the source of its answers: it stays as it is, unless the server
// listens on a loopback address.

// isOwners reports whether a chain is of the tree of owners.
func (id chainID) isOwners() bool {
	return id.table == mangle && (strings.HasPrefix(id.name, ownerChain) || strings.HasPrefix(id.name, addressesOf))
}

// muting returns the chains that drop the answers of other users.
func muting(mappings, near []rules.Mapping, family rules.Families) []chain {
	var entries []dnatEntry
	for i := range mappings {
		m := &mappings[i]
		if m.Owner() == "" || !m.Families().Has(family) {
			continue
		}
		for _, e := range appendTargets(nil, entryOf(m, -1), m, family) {
			e.owned, e.share = true, share{}
			e.uid, _ = m.UID()
			if !e.to.IsValid() {
				e.address = m.Listen()
			}
			e.to = netip.Addr{}
			for _, e.protocol = range m.Protocols().Each() {
				entries = append(entries, e)
			}
		}
	}
	if len(entries) == 0 {
		return nil
	}
	t := &tree{table: mangle, asked: true, near: near, portsOf: listenPorts, kind: ownerChain}
	t.grow(ownerChain, portRange{rules.TCP | rules.UDP, everyPort}, pointers(entries), treeOf(ownerChain))
	return slices.Clip(t.chains)
}

// treeOf names the chains of a tree for both protocols below its root.
func treeOf(root string) func(portRange) string {
	return func(b portRange) string {
		name := root + "-T"
		if b.protocols == rules.UDP {
			name = root + "-U"
		}
		if b.ports == everyPort {
			return name
		}
		return fmt.Sprintf("%s-%d-%d", name, b.ports.First, b.ports.Last)
	}
}
