// Package flows makes connection tracking forget what a change of mappings has made untrue. NAT is decided by the first
// packet of a flow: without this, a UDP or QUIC flow would go its old way for minutes after the change, and a connection to a
// mapping that was removed would go on.
package flows

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Forget deletes the entries of flows that go another way under the new rules:
//   - flows that a removed mapping had translated, unless one that was added translates them alike (a mapping that only got
//     a name, or a sibling protocol, disturbs nobody);
//   - UDP flows to an added mapping's listen side that began untranslated. An established TCP connection to a server on the
//     listen port itself is left to end by itself.
//
// Only flows to addresses of this host are touched; what it forwards is not.
func Forget(change rules.Change) error {
	removed, added := rules.Minus(change.Remove, change.Add), rules.Minus(change.Add, change.Remove)
	if !concerns(removed, added) {
		return nil
	}
	f := filter{removed: index(removed), added: index(added), local: map[netip.Addr]bool{}}
	var errs []error
	for _, family := range [...]netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, &f)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.ENOENT) { // gone by itself meanwhile
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("connection tracking: %w", err)
	}
	return nil
}

// concerns reports whether there can be such flows at all: to add a mapping for TCP makes nothing untrue, and the table,
// which may hold hundreds of thousands of flows, need not be read.
func concerns(removed, added []rules.Mapping) bool {
	for i := range added {
		if added[i].Protocols().Has(rules.UDP) {
			return true
		}
	}
	return len(removed) > 0
}

// portIndex finds the mappings for a listen port.
type portIndex map[uint16][]*rules.Mapping

func index(mappings []rules.Mapping) portIndex {
	byPort := portIndex{}
	for i := range mappings {
		ports := mappings[i].ListenPorts()
		for k := range ports.Count() {
			port := ports.First + uint16(k)
			byPort[port] = append(byPort[port], &mappings[i])
		}
	}
	return byPort
}

// filter chooses the entries to delete.
type filter struct {
	removed, added portIndex
	local          map[netip.Addr]bool // what was asked of the routing table already
}

// MatchConntrackFlow reports whether the entry is untrue now. The forward direction is what the client sent; the reverse one
// comes from where the packets really go.
func (f *filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	packet, port, ok := first(flow)
	if !ok {
		return false
	}
	translated := port != packet.Destination.Port()
	if translated && !f.claimed(f.removed, packet, port) || !translated && packet.Protocol != rules.UDP {
		return false
	}
	if f.claimed(f.added, packet, port) {
		return false // the new rules send it where it goes already
	}
	return (translated || f.claimed(f.added, packet, 0)) && f.isLocal(packet.Destination.Addr())
}

// claimed reports whether one of the mappings would take the packet, and send it to port, or with 0 to any. A flow does not
// tell on which interface it arrived: that is taken to fit.
func (f *filter) claimed(by portIndex, packet rules.Packet, port uint16) bool {
	for _, m := range by[packet.Destination.Port()] {
		packet.Interface = m.Interface()
		if m.Claims(packet) && (port == 0 || m.TargetOf(packet.Destination.Port()) == port) {
			return true
		}
	}
	return false
}

// first returns the first packet of a flow, and the port it was sent to in truth.
func first(flow *netlink.ConntrackFlow) (packet rules.Packet, port uint16, ok bool) {
	source, ok1 := netip.AddrFromSlice(flow.Forward.SrcIP)
	destination, ok2 := netip.AddrFromSlice(flow.Forward.DstIP)
	switch flow.Forward.Protocol {
	case unix.IPPROTO_TCP:
		packet.Protocol = rules.TCP
	case unix.IPPROTO_UDP:
		packet.Protocol = rules.UDP
	default:
		return packet, 0, false
	}
	packet.Source = source.Unmap()
	packet.Destination = netip.AddrPortFrom(destination.Unmap(), flow.Forward.DstPort)
	packet.DestinationLocal = true
	return packet, flow.Reverse.SrcPort, ok1 && ok2
}

// isLocal asks the routing table, as the rules in the kernel do. An address that cannot be looked up is not ours.
func (f *filter) isLocal(addr netip.Addr) bool {
	local, known := f.local[addr]
	if !known {
		routes, err := netlink.RouteGet(net.IP(addr.AsSlice()))
		local = err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
		f.local[addr] = local
	}
	return local
}
