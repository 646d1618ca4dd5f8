package check

import (
	"net/netip"
	"slices"
	"sort"
	"time"

	"portmap/internal/finding"
	"portmap/internal/probe"
	"portmap/internal/servers"
	"portmap/internal/trace"
	"portmap/rules"
	"portmap/rules/facts"
)

// Way is how a client comes to a mapping: at one address, by one protocol; and what became of a packet of the probe's
// that went it.
type Way struct {
	Mapping  rules.Mapping
	Protocol rules.Protocols
	To       netip.AddrPort

	Expected []netip.AddrPort // where the mapping sends it, one of these
	Reached  bool             // a server got it, and if it had to answer, it did
	Quiet    bool             // of Reached: nothing came back, as is usual for UDP
	Untold   bool             // rules that tell clients apart stopped it: of other clients that says nothing
	Took     time.Duration    // until the answer came
	Path     []Step           // the rules of nf_tables that the packet met, and those that the answer met

	answer    probe.Answer
	entry     probe.Entry
	out       *trace.Packet     // what the client sent; nil where it was not followed
	back      *trace.Packet     // what this host answered
	leaked    []finding.Finding // by the server's answer
	explained bool              // something says why it was not reached
}

// Family returns the address family of a Way.
func (w *Way) Family() rules.Families { return rules.FamilyOf(w.To.Addr()) }

// noAddress is why a mapping has no way from other hosts.
const noAddress = "no interface has an address for it that other hosts reach"

// waysOf returns the ways to a mapping from other hosts: one for each protocol and family, at the first address
// that has a server, first of an interface by which a default route leads. The mapping's own options can leave none:
// then why says so.
func waysOf(m rules.Mapping, in *Facts) (ways []Way, why string) {
	switch {
	case m.Interface() != "":
		return nil, "--interface: a packet of the probe does not arrive on " + rules.Printable(m.Interface())
	case len(m.Sources()) > 0:
		return nil, "--source: the probe is none of these clients"
	case m.Listen().IsLoopback():
		return nil, "it is for clients on this host only"
	}
	port := servedPort(m, &in.Servers)
	places := in.Servers.Places(m)
	preference := func(p servers.Place) (n int) {
		if len(p.Servers) > 0 { // a server may listen at one of several addresses only
			n = 2
		}
		// other interfaces are for containers, or for a tunnel
		if slices.Contains(in.Filters.Uplinks(rules.FamilyOf(p.Address)), p.Interface) {
			n++
		}
		return n
	}
	sort.SliceStable(places, func(i, k int) bool { return preference(places[i]) > preference(places[k]) })
	for _, family := range m.Families().Each() {
		for _, place := range places {
			if rules.FamilyOf(place.Address) != family || place.Address.IsLoopback() {
				continue
			}
			for _, protocol := range m.Protocols().Each() {
				ways = append(ways, Way{Mapping: m, Protocol: protocol, To: netip.AddrPortFrom(place.Address, port)})
			}
			break
		}
	}
	if len(ways) == 0 {
		why = noAddress
	}
	return ways, why
}

// servedPort returns a listen port behind which somebody listens; the first one if nobody does.
func servedPort(m rules.Mapping, found *servers.Found) uint16 {
	ports := m.ListenPorts()
	if list := found.Of(m); ports.Count() > 1 && len(list) > 0 {
		for i := range ports.Count() {
			port := ports.First + uint16(i)
			target, here := m.TargetOf(port)
			if here && slices.ContainsFunc(list, func(s servers.Server) bool { return s.Port == target }) {
				return port
			}
		}
	}
	return ports.First
}

// How long an answer may take. A datagram to this host is refused at once, or nobody has to answer it.
const (
	patience      = time.Second
	patienceLocal = 150 * time.Millisecond
)

func (w *Way) question() probe.Question {
	q := probe.Question{Protocol: w.Protocol, To: w.To, Patience: patience}
	if w.Protocol == rules.UDP && facts.RemoteFamilies(&w.Mapping) == 0 {
		q.Patience = patienceLocal
	}
	return q
}

// expect sets where the mapping sends the packet.
func (w *Way) expect(from netip.Addr) {
	decision, _ := w.Mapping.Route(rules.Packet{Protocol: w.Protocol, Source: from, Destination: w.To,
		DestinationLocal: true, Interface: "another"})
	w.Expected = decision.To
}

// judge says whether a server got the packet. A datagram that nothing stopped, and that nobody refused, did.
func (w *Way) judge() {
	arrives := slices.Contains(w.Expected, w.destination())
	w.Took = w.answer.Took
	switch {
	case w.answer.Outcome == probe.Answered:
		w.Reached = arrives
	case w.answer.Outcome == probe.Silent && w.Protocol == rules.UDP:
		w.Reached = arrives && (w.out == nil || !w.out.Dropped()) && (w.back == nil || !w.back.Dropped())
		w.Quiet = w.Reached
	}
}
