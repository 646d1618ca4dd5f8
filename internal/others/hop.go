package others

import (
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"

	"golang.org/x/sys/unix"
)

// hop is a chain on the way of packets to servers, with all rules that it leads to which end their way.
type hop struct {
	hook  uint32
	early bool // it sees packets before NAT: their port is that which the client used
	drops bool // its policy
	ends  []Rule
}

// packet is the first one of a connection, from a client in a network.
type packet struct {
	family     rules.Families
	protocol   rules.Protocols
	from       netip.Prefix
	port       uint16
	listen     uint16 // the port that the client used
	iface      string // on which it comes in; "" if that is not asked
	translated bool
}

// takes reports whether a match can have the packet, and whether it has it for certain.
func (m match) takes(p packet) (possible, certain bool) {
	has := func(list []rules.Ports, port uint16) bool {
		return list == nil || slices.ContainsFunc(list, func(r rules.Ports) bool { return r.Contains(port) })
	}
	whole := func(n netip.Prefix) bool { return n.Bits() <= p.from.Bits() && n.Contains(p.from.Addr()) }
	possible = m.families.Has(p.family) && m.protocols.Has(p.protocol) && has(m.ports, p.port) &&
		has(m.original, p.listen) && (p.translated || !m.translated) && m.iface != "lo" &&
		(m.iface == "" || p.iface == "" || m.iface == p.iface) &&
		(m.from == nil || slices.ContainsFunc(m.from, p.from.Overlaps))
	certain = possible && !m.unread && (m.iface == "" || m.iface == p.iface) && m.to == nil &&
		(m.from == nil || slices.ContainsFunc(m.from, whole))
	return possible, certain
}

// dropped reports whether the packet ends in the chain, and the number of the rule; -1 for the policy. A rule that is
// not understood, and names no source, is taken for one about other packets, such as invalid ones.
func (h *hop) dropped(p packet) (rule int, dropped bool) {
	accepted := false
	for i := range h.ends {
		r := &h.ends[i]
		switch possible, certain := r.match.takes(p); {
		case r.action == drop && possible && (certain || r.match.from != nil):
			return i, true
		case r.action == accept && certain:
			return 0, false
		case r.action == accept && possible:
			accepted = true
		}
	}
	return -1, h.drops && !accepted
}

// mapped returns the packet behind NAT, and the hook at which it comes to the server.
func (p packet) mapped(m *rules.Mapping) (packet, uint32) {
	hook := uint32(unix.NF_INET_LOCAL_IN)
	p.translated = true
	for _, t := range facts.TargetsIn(m, p.family) {
		p.port = t.Ports.First + p.listen - m.ListenPorts().First
		if t.Remote() {
			hook = unix.NF_INET_FORWARD
		}
	}
	return p, hook
}
