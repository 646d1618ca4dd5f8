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

// Decision is what becomes of a packet of which a mapping decides.
type Decision struct {
	Mapping Mapping
	To      []netip.AddrPort // the new destination; of several, any one; none if the packet is refused
	Refused Refusal          // by a mapping that hides its target port
}

// Refusal is how a packet is refused, as the client sees it.
type Refusal uint8

// The refusals.
const (
	NotRefused  Refusal = iota
	Reset               // by a TCP reset
	Unreachable         // by an ICMP or ICMPv6 error: port unreachable
	Silent              // by no answer at all
)

func (r Refusal) String() string {
	return [...]string{"not refused", "reset", "unreachable", "silent"}[r]
}

// Route says where a packet goes; false if it passes on untouched. It defines what every backend is tested against.
func (s Set) Route(p Packet) (Decision, bool) {
	if !p.DestinationLocal {
		return Decision{}, false
	}
	for _, m := range s.mappings {
		if m.Claims(p) {
			return Decision{Mapping: m, To: m.destinations(p)}, true
		}
	}
	for _, m := range s.mappings {
		if m.hides(p) {
			return Decision{Mapping: m, Refused: refusalOf(p.Protocol)}, true
		}
	}
	return Decision{}, false
}

// Route is [Set.Route] of a Set with only this mapping.
func (m Mapping) Route(p Packet) (Decision, bool) { return Set{[]Mapping{m}}.Route(p) }

// AnsweredBy says what the client gets if a socket of this user answers.
func (d Decision) AnsweredBy(uid uint32) Refusal {
	if d.Refused == NotRefused && !d.Mapping.MayAnswer(uid) {
		return Silent
	}
	return d.Refused
}

func refusalOf(p Protocols) Refusal {
	if p == TCP {
		return Reset
	}
	return Unreachable
}

// Claims reports whether the packet, if it is for this host, is the mapping's.
func (m Mapping) Claims(p Packet) bool {
	// A packet to a loopback address has one as its source, too, with which it cannot leave for another host.
	source, destination := p.Source.Unmap(), p.Destination.Addr().Unmap()
	return m.ports.Contains(p.Destination.Port()) && m.arrives(p) &&
		(m.extras == nil || !destination.IsLoopback() || !m.hasRemote()) &&
		(len(m.extra().sources) == 0 || slices.ContainsFunc(m.extra().sources, func(n netip.Prefix) bool {
			return n.Contains(source)
		}))
}

// hides reports whether the packet goes to a target port that the mapping hides: from all sources, but not at
// addresses, on interfaces and over families that the mapping is not for.
func (m *Mapping) hides(p Packet) bool {
	return m.Hide() && p.Interface != "" && m.arrives(p) &&
		slices.ContainsFunc(m.servers(), func(t Target) bool {
			return !t.Remote() && t.Ports.Contains(p.Destination.Port())
		})
}

// arrives reports whether the packet has the protocol, the family, the address and the interface of the mapping.
func (m *Mapping) arrives(p Packet) bool {
	destination := p.Destination.Addr().Unmap()
	e := m.extra()
	return m.protocols.Has(p.Protocol) && m.families.Has(FamilyOf(destination)) &&
		(!e.listen.IsValid() || e.listen == destination) && (e.iface == "" || e.iface == p.Interface)
}

func (m Mapping) destinations(p Packet) []netip.AddrPort {
	offset, address := p.Destination.Port()-m.ports.First, p.Destination.Addr().Unmap()
	var to []netip.AddrPort
	for _, t := range m.servers() {
		if !t.Addr.IsValid() {
			t.Addr = address
		} else if FamilyOf(t.Addr) != FamilyOf(address) {
			continue
		}
		to = append(to, netip.AddrPortFrom(t.Addr, t.Ports.First+offset))
	}
	return to
}
