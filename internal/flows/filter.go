package flows

import (
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flow is an entry of connection tracking.
type flow struct {
	first rules.Packet   // the first packet as the client sent it, without its interface
	to    netip.AddrPort // the real destination: the source of replies
}

// flowOf reads an entry. It is not ok for protocols other than TCP and UDP.
func flowOf(entry *netlink.ConntrackFlow) (f flow, ok bool) {
	switch entry.Forward.Protocol {
	case unix.IPPROTO_TCP:
		f.first.Protocol = rules.TCP
	case unix.IPPROTO_UDP:
		f.first.Protocol = rules.UDP
	default:
		return f, false
	}
	source, ok1 := netip.AddrFromSlice(entry.Forward.SrcIP)
	destination, ok2 := netip.AddrFromSlice(entry.Forward.DstIP)
	to, ok3 := netip.AddrFromSlice(entry.Reverse.SrcIP)
	f.first.Source = source.Unmap()
	f.first.Destination = netip.AddrPortFrom(destination.Unmap(), entry.Forward.DstPort)
	f.first.DestinationLocal = true
	f.to = netip.AddrPortFrom(to.Unmap(), entry.Reverse.SrcPort)
	return f, ok1 && ok2 && ok3
}

// host is what the filter asks of the host.
type host interface {
	// isLocal reports whether packets to the address are for this host.
	isLocal(netip.Addr) bool

	// arrival returns the interface that packets arrive on; "" if they come from this host. It is not always
	// known.
	arrival(source, destination netip.Addr) (iface string, known bool)
}

// portIndex finds the mappings for a listen port.
type portIndex map[uint16][]*rules.Mapping

func (x portIndex) add(mappings []rules.Mapping, wanted func(port uint16) bool) {
	for i := range mappings {
		ports := mappings[i].ListenPorts()
		for k := range ports.Count() {
			if port := ports.First + uint16(k); wanted(port) {
				x[port] = append(x[port], &mappings[i])
			}
		}
	}
}

// addHidden adds mappings that hide their target port, by that port.
func (x portIndex) addHidden(mappings []rules.Mapping) {
	for i := range mappings {
		m := &mappings[i]
		if !m.Hide() {
			continue
		}
		for _, target := range facts.PortsHere(m) {
			for k := range target.Count() {
				port := target.First + uint16(k)
				x[port] = append(x[port], m)
			}
		}
	}
}

// filter chooses the entries to delete.
type filter struct {
	removed, added, restored portIndex
	hidden                   portIndex // those of added that hide their target port, by that port
	after                    portIndex // only ports of removed and added mappings
	host                     host
}

func newFilter(c Change, h host) *filter {
	f := &filter{portIndex{}, portIndex{}, portIndex{}, portIndex{}, portIndex{}, h}
	all := func(uint16) bool { return true }
	f.removed.add(c.Removed, all)
	f.added.add(c.Added, all)
	f.restored.add(c.Restored, all)
	f.hidden.addHidden(c.Added)
	concerned := func(port uint16) bool { return len(f.removed[port])+len(f.added[port]) > 0 }
	f.after.add(c.Added, concerned) // also mappings that no file has
	for _, s := range c.After {
		f.after.add(s.Mappings(), concerned)
	}
	return f
}

// MatchConntrackFlow reports whether an entry is outdated.
func (f *filter) MatchConntrackFlow(entry *netlink.ConntrackFlow) bool {
	w, ok := flowOf(entry)
	return ok && f.outdated(w) && f.host.isLocal(w.first.Destination.Addr())
}

func (f *filter) outdated(w flow) bool {
	listen := w.first.Destination
	switch {
	case f.sentBy(f.after, w):
		return false
	case f.sentBy(f.removed, w):
		return true
	case w.to.Addr() != listen.Addr(): // a foreign rule
		return false
	case w.first.Protocol != rules.UDP:
		return false
	case w.to.Port() == listen.Port():
		return f.claimedBy(f.added, w) || f.hides(w)
	}
	return f.claimedBy(f.restored, w)
}

// sentBy reports whether one of the mappings can have sent the flow to its destination. If the arrival is unknown,
// every interface matches: of two mappings that differ only in the interface, the one that stays keeps the flows of
// both.
func (f *filter) sentBy(by portIndex, w flow) bool {
	listen := w.first.Destination.Port()
	for _, m := range by[listen] {
		packet := w.first
		packet.Interface = m.Interface()
		if decision, _ := m.Route(packet); slices.Contains(decision.To, w.to) && f.claims(m, w, true) {
			return true
		}
	}
	return false
}

// claimedBy reports whether one of the mappings certainly claims the flow.
func (f *filter) claimedBy(by portIndex, w flow) bool {
	for _, m := range by[w.first.Destination.Port()] {
		if f.claims(m, w, false) {
			return true
		}
	}
	return false
}

// hides reports whether one of the mappings surely refuses the flow, which goes to its target port directly.
func (f *filter) hides(w flow) bool {
	for _, m := range f.hidden[w.first.Destination.Port()] {
		packet := w.first
		iface, known := f.host.arrival(w.first.Source, w.first.Destination.Addr())
		if packet.Interface = iface; !known && m.Interface() == "" {
			packet.Interface = "some" // flows of this host are known
		}
		if decision, _ := m.Route(packet); decision.Refused != rules.NotRefused {
			return true
		}
	}
	return false
}

// claims reports whether a mapping claims the flow. If that depends on an unknown arrival, it returns ifUnknown.
func (f *filter) claims(m *rules.Mapping, w flow, ifUnknown bool) bool {
	packet := w.first
	packet.Interface = m.Interface()
	if !m.Claims(packet) || m.Interface() == "" {
		return m.Claims(packet)
	}
	iface, known := f.host.arrival(w.first.Source, w.first.Destination.Addr())
	return known && iface == m.Interface() || !known && ifUnknown
}
