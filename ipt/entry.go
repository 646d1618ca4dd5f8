package ipt

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
	"portmap/rules/facts"
)

// dnatEntry is one protocol of a mapping in one family, before it becomes rules; or what is dropped of several
// mappings.
type dnatEntry struct {
	mapping     int
	protocol    rules.Protocols
	listen      rules.Ports
	to          netip.Addr // the server's address; not valid for the one that the packet has
	target      uint16     // for the first listen port
	number      int        // of the server, among those of the mapping
	share       share      // that it has of the connections
	drops       bool       // its packets are dropped, instead of sent to target
	masquerades bool       // they get another source; listen is where they go
	original    uint16     // of masquerades: the port that clients use, for the first one
	refuses     bool       // they are refused, by the chain for that
	owned       bool       // answers of other users are dropped
	uid         uint32     // of the owner
	address     netip.Addr
	iface       string
	source      netip.Prefix
	sourceChain string // the chain that asks for the source, if there are several; the ports are asked for behind it
	text        string // tells it from others: the mapping's text
	comment     string
}

// sortEntries orders the entries of a chain that is about some ports. What they have beyond these has no part in it: it
// would let a change of other ports change this chain.
func sortEntries(entries []*dnatEntry, p rules.Ports) {
	slices.SortFunc(entries, func(a, b *dnatEntry) int {
		return cmp.Or(cmp.Compare(max(a.listen.First, p.First), max(b.listen.First, p.First)),
			strings.Compare(a.text, b.text), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.number, b.number))
	})
}

// rulesIn returns how many rules the entry has for a range of ports: one a port, so that each goes to its own target.
// (A shifted range, `DNAT --to-destination :9000-9010/8000`, takes the next port, and so another server, where the
// tuple of the right one is in use: nf_nat_core.c, nf_nat_l4proto_unique_tuple.)
func (e *dnatEntry) rulesIn(p rules.Ports) int {
	if e.spans() {
		return 1
	}
	return int(min(e.listen.Last, p.Last)) - int(max(e.listen.First, p.First)) + 1
}

// rules returns the entry's rules for a range of ports, which it overlaps.
func (e *dnatEntry) rules(p rules.Ports) []rule {
	r := rule{iface: e.iface, protocol: e.protocol, comment: e.comment}
	if e.source.IsValid() && e.source.Bits() > 0 {
		r.source = e.source
	}
	if e.address.IsValid() {
		r.destination = netip.PrefixFrom(e.address, e.address.BitLen())
	}
	if e.drops || e.masquerades || e.refuses {
		r.ports = rules.Ports{First: max(e.listen.First, p.First), Last: min(e.listen.Last, p.Last)}
	}
	if e.masquerades {
		first := e.original + (r.ports.First - e.listen.First)
		r.original = rules.Ports{First: first, Last: first + (r.ports.Last - r.ports.First)}
		r.verdict = masquerade
		return []rule{r}
	}
	if e.refuses {
		r.verdict, r.chain = goTo, refuseChain
		return []rule{r}
	}
	if e.drops {
		if r.verdict = drop; e.sourceChain != "" {
			r.verdict, r.chain = jump, e.sourceChain
		}
		return []rule{r}
	}
	if e.sourceChain != "" {
		r.ports, r.verdict, r.chain = e.listen, jump, e.sourceChain
		return []rule{r}
	}
	r.verdict, r.address, r.share = toPort, e.to, e.share
	if e.owned {
		r.verdict, r.owned, r.uid = drop, true, e.uid
	}
	if e.to.IsValid() && !e.to.IsLoopback() && !e.address.IsValid() {
		r.notTo = loopbackOf(rules.FamilyOf(e.to))
	}
	list := make([]rule, 0, e.rulesIn(p))
	for port := int(max(e.listen.First, p.First)); port <= int(min(e.listen.Last, p.Last)); port++ {
		r.ports = rules.Ports{First: uint16(port), Last: uint16(port)}
		r.port = e.target + uint16(port) - e.listen.First
		list = append(list, r)
	}
	return list
}

// spans reports whether the entry has one rule for all of its ports.
func (e *dnatEntry) spans() bool { return e.sourceChain != "" || e.drops || e.masquerades || e.refuses }

// covers reports whether one rule of the entry is for all of the range.
func (e *dnatEntry) covers(b portRange) bool {
	return e.spans() && b.protocols == e.protocol && e.listen.First <= max(b.ports.First, 1) &&
		e.listen.Last >= b.ports.Last
}

// sourcesIn returns the sources of a mapping that are of a family.
func sourcesIn(m *rules.Mapping, family rules.Families) []netip.Prefix {
	var sources []netip.Prefix
	if facts.Restricted(m) {
		for _, s := range m.Sources() {
			if rules.FamilyOf(s.Addr()) == family {
				sources = append(sources, s)
			}
		}
	}
	return sources
}

// comparePrefix orders networks by address, and puts the wider one first.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
