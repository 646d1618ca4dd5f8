package rules

import (
	"net/netip"
	"slices"
)

// Packet is the first packet of a connection, as the oracle is asked about it.
type Packet struct {
	Protocol         Protocols // TCP or UDP
	Source           netip.Addr
	Destination      netip.AddrPort
	DestinationLocal bool   // the destination is an address of this host: fib type local
	Interface        string // what it arrived on; empty for a packet of this host itself
}

// Decision is what becomes of a packet that a mapping claims.
type Decision struct {
	Mapping Mapping
	To      []netip.AddrPort // the new destination; of several, any one
}

// Route says where a packet goes. No decision means that it passes on untouched. It is the definition that every
// backend is tested against; it looks at the mappings one by one.
func (s Set) Route(p Packet) (Decision, bool) {
	if !p.DestinationLocal {
		return Decision{}, false
	}
	for _, m := range s.mappings {
		if m.Claims(p) {
			return Decision{Mapping: m, To: m.destinations(p)}, true
		}
	}
	return Decision{}, false
}

// Claims reports whether the packet, if it is for this host, is the mapping's. A packet to a loopback address has one
// as its source, too, with which it cannot leave for another host: it is not one of a mapping to there.
func (m Mapping) Claims(p Packet) bool {
	source, destination := p.Source.Unmap(), p.Destination.Addr().Unmap()
	return m.protocols.Has(p.Protocol) &&
		m.families.Has(FamilyOf(destination)) &&
		m.ports.Contains(p.Destination.Port()) &&
		(m.extras == nil || !destination.IsLoopback() || m.RemoteFamilies() == 0) &&
		(!m.extra().listen.IsValid() || m.extra().listen == destination) &&
		(m.extra().iface == "" || m.extra().iface == p.Interface) &&
		(len(m.extra().sources) == 0 || slices.ContainsFunc(m.extra().sources, func(n netip.Prefix) bool {
			return n.Contains(source)
		}))
}

// Destinations returns where the mapping can send a packet that it claims: with several targets, to any one of these.
func (m Mapping) Destinations(p Packet) []netip.AddrPort {
	if !m.Claims(p) {
		return nil
	}
	return m.destinations(p)
}

func (m Mapping) destinations(p Packet) []netip.AddrPort {
	offset, address := p.Destination.Port()-m.ports.First, p.Destination.Addr().Unmap()
	var to []netip.AddrPort
	for _, t := range m.TargetsIn(FamilyOf(address)) {
		if !t.Addr.IsValid() {
			t.Addr = address
		}
		to = append(to, netip.AddrPortFrom(t.Addr, t.Ports.First+offset))
	}
	return to
}
