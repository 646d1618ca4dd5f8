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

// Claims reports whether the packet, if it is for this host, is the mapping's.
func (m Mapping) Claims(p Packet) bool {
	source, destination := p.Source.Unmap(), p.Destination.Addr().Unmap()
	return m.protocols.Has(p.Protocol) &&
		m.families.Has(FamilyOf(destination)) &&
		m.ports.Contains(p.Destination.Port()) &&
		(!m.extra().listen.IsValid() || m.extra().listen == destination) &&
		(m.extra().iface == "" || m.extra().iface == p.Interface) &&
		(len(m.extra().sources) == 0 || slices.ContainsFunc(m.extra().sources, func(n netip.Prefix) bool {
			return n.Contains(source)
		}))
}

func (m Mapping) destinations(p Packet) []netip.AddrPort {
	offset := p.Destination.Port() - m.ports.First
	targets := m.extra().targets
	if len(targets) == 0 {
		return []netip.AddrPort{netip.AddrPortFrom(p.Destination.Addr().Unmap(), m.target.First+offset)}
	}
	var to []netip.AddrPort
	for _, t := range targets {
		if FamilyOf(t.Addr) == FamilyOf(p.Destination.Addr().Unmap()) {
			to = append(to, netip.AddrPortFrom(t.Addr, t.Ports.First+offset))
		}
	}
	return to
}
