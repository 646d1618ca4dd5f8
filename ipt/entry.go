package ipt

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
)

// dnatEntry is one protocol of a mapping in one family, before it becomes rules; or what is dropped of several
// mappings.
type dnatEntry struct {
	mapping     int
	protocol    rules.Protocols
	listen      rules.Ports
	target      uint16 // for the first listen port
	drops       bool   // its packets are dropped, instead of sent to target
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
			strings.Compare(a.text, b.text), cmp.Compare(a.protocol, b.protocol))
	})
}

// rulesIn returns how many rules the entry has for a range of ports: one a port, so that each goes to its own target.
// (A shifted range, `DNAT --to-destination :9000-9010/8000`, takes the next port, and so another server, where the
// tuple of the right one is in use: nf_nat_core.c, nf_nat_l4proto_unique_tuple.)
func (e *dnatEntry) rulesIn(p rules.Ports) int {
	if e.sourceChain != "" || e.drops {
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
	if e.drops {
		r.ports = rules.Ports{First: max(e.listen.First, p.First), Last: min(e.listen.Last, p.Last)}
		if r.verdict = drop; e.sourceChain != "" {
			r.verdict, r.chain = jump, e.sourceChain
		}
		return []rule{r}
	}
	if e.sourceChain != "" {
		r.ports, r.verdict, r.chain = e.listen, jump, e.sourceChain
		return []rule{r}
	}
	r.verdict = toPort
	list := make([]rule, 0, e.rulesIn(p))
	for port := int(max(e.listen.First, p.First)); port <= int(min(e.listen.Last, p.Last)); port++ {
		r.ports = rules.Ports{First: uint16(port), Last: uint16(port)}
		r.port = e.target + uint16(port) - e.listen.First
		list = append(list, r)
	}
	return list
}

// covers reports whether one rule of the entry is for all of the range.
func (e *dnatEntry) covers(b portRange) bool {
	return (e.sourceChain != "" || e.drops) && b.protocols == e.protocol && e.listen.First <= max(b.ports.First, 1) &&
		e.listen.Last >= b.ports.Last
}

// sourcesIn returns the sources of a mapping that are of a family.
func sourcesIn(m *rules.Mapping, family rules.Families) []netip.Prefix {
	var sources []netip.Prefix
	if m.Restricted() {
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
