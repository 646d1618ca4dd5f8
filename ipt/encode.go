package ipt

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// maxComment is the longest comment in bytes (XT_MAX_COMMENT_LEN, linux/netfilter/xt_comment.h, less the NUL).
const maxComment = 255

// supported refuses what this backend cannot put into the kernel.
func supported(m *rules.Mapping) error {
	if err := m.Within(); err != nil {
		return err
	}
	if m.Interface() == "!" { // to iptables that is "not"
		return &rules.UnsupportedError{Part: "--interface !"}
	}
	return nil
}

// item is one protocol of a mapping, in one family, on its way into chains; or what is dropped of several mappings.
type item struct {
	mapping  int
	protocol rules.Protocols
	listen   rules.Ports
	target   uint16 // for the first listen port
	drops    bool   // its packets are dropped, instead of sent to target
	address  netip.Addr
	iface    string
	source   netip.Prefix
	gate     string // the chain that asks for the source, where there are several; ports are told apart behind it
	text     string // tells it from others: the mapping's text
	comment  string
}

// encode returns the chains of one family for mappings, which are supported; where none is of that family, no chain but that
// of the notes. The same mappings, in whatever order, come to the same chains.
func encode(mappings []rules.Mapping, family rules.Families) []chain {
	return encodeNear(mappings, nil, family)
}

// encodeNear is encode for those chains alone that hold something of the mappings near, or lead to them; nil for all.
func encodeNear(mappings, near []rules.Mapping, family rules.Families) []chain {
	return append(translating(mappings, near, family), dropping(mappings, near, family)...)
}

// translating returns the chains of the table nat.
func translating(mappings, near []rules.Mapping, family rules.Families) []chain {
	t := &tree{table: nat, near: near}
	items := make([]item, 0, len(mappings)+len(mappings)/8)
	var gated, noted []int
	for i := range mappings {
		m := &mappings[i]
		if family == notesFamily && len(notes(m)) > 0 {
			noted = append(noted, i)
		}
		if !m.Families().Has(family) {
			continue
		}
		var sources []netip.Prefix
		items, sources = appendItems(items, m, i, family)
		if len(sources) > 1 && t.isNear(m) {
			gated = append(gated, i)
		}
	}
	if len(items) > 0 {
		t.grow(rootChain, box{rules.TCP | rules.UDP, everyPort}, pointers(items), readable)
	}
	inOrder := func(a, b int) int { return rules.Compare(mappings[a], mappings[b]) }
	slices.SortFunc(gated, inOrder)
	slices.SortFunc(noted, inOrder)
	for _, i := range gated {
		m := &mappings[i]
		then := hashed(portsOf, m.String())
		t.gate(hashed(sourcesOf, m.String()), sourcesIn(m, family), rule{verdict: goTo, chain: then})
		t.portsBehindGate(then, m, i)
	}
	if family != notesFamily || len(mappings) == 0 {
		return t.chains
	}
	at := t.open(textChain)
	for _, i := range noted {
		for _, note := range notes(&mappings[i]) {
			t.add(at, rule{comment: note}, -1)
		}
	}
	return t.chains
}

// notesFamily is the family that has the chain with the notes on all mappings: one look tells whether there are any, and
// which are temporary.
const notesFamily = rules.IPv4

// notes are the comments of a mapping in the chain where no packet comes: the pieces of a long text, or the text where it is
// temporary. So where that chain is empty there are no temporary mappings.
func notes(m *rules.Mapping) []string {
	if pieces := ruletext.Pieces(m.String(), maxComment); len(pieces) > 0 || !m.Temporary() {
		return pieces
	}
	return []string{m.String()}
}

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

// itemOf returns what all items of a mapping have in common.
func itemOf(m *rules.Mapping, number int) item {
	target, _ := m.TargetPorts() // of this host: no other mapping is supported
	return item{
		mapping: number, listen: m.ListenPorts(), target: target.First,
		text: m.String(), comment: ruletext.Comment(m.String(), maxComment),
	}
}

// appendItems appends a mapping's items, and returns its sources.
//
// A mapping with several sources is cut in two, so that its rules are as many as its sources and its ports together, and not
// the one times the other: a first chain asks for the source, a second for the port.
func appendItems(items []item, m *rules.Mapping, number int, family rules.Families) ([]item, []netip.Prefix) {
	it := itemOf(m, number)
	var sources []netip.Prefix
	if !m.Plain() {
		it.address, it.iface = m.Listen(), m.Interface()
		switch sources = sourcesIn(m, family); len(sources) {
		case 0:
		case 1:
			it.source = sources[0]
		default:
			it.gate = hashed(sourcesOf, m.String())
			it.mapping = -1 // the rules behind the gate count
		}
	}
	for _, p := range [...]rules.Protocols{rules.TCP, rules.UDP} {
		if m.Protocols().Has(p) {
			it.protocol = p
			items = append(items, it)
		}
	}
	return items, sources
}

// sortItems orders the items of a chain that is about some ports. What they have beyond these has no part in it: it would let
// a change of other ports change this chain.
func sortItems(items []*item, p rules.Ports) {
	slices.SortFunc(items, func(a, b *item) int {
		return cmp.Or(cmp.Compare(max(a.listen.First, p.First), max(b.listen.First, p.First)),
			strings.Compare(a.text, b.text), cmp.Compare(a.protocol, b.protocol))
	})
}

// rulesIn returns how many rules the item has for a range of ports: one a port, so that each goes to its own target. (A
// shifted range, `DNAT --to-destination :9000-9010/8000`, takes the next port, and so another server, where the tuple of the
// right one is in use: nf_nat_core.c, nf_nat_l4proto_unique_tuple.)
func (it *item) rulesIn(p rules.Ports) int {
	if it.gate != "" || it.drops {
		return 1
	}
	return int(min(it.listen.Last, p.Last)) - int(max(it.listen.First, p.First)) + 1
}

// rules returns the item's rules for a range of ports, which it overlaps.
func (it *item) rules(p rules.Ports) []rule {
	r := rule{iface: it.iface, protocol: it.protocol, comment: it.comment}
	if it.source.IsValid() && it.source.Bits() > 0 {
		r.source = it.source
	}
	if it.address.IsValid() {
		r.destination = netip.PrefixFrom(it.address, it.address.BitLen())
	}
	if it.drops {
		r.ports = rules.Ports{First: max(it.listen.First, p.First), Last: min(it.listen.Last, p.Last)}
		if r.verdict = drop; it.gate != "" {
			r.verdict, r.chain = jump, it.gate
		}
		return []rule{r}
	}
	if it.gate != "" {
		r.ports, r.verdict, r.chain = it.listen, jump, it.gate
		return []rule{r}
	}
	r.verdict = toPort
	list := make([]rule, 0, it.rulesIn(p))
	for port := int(max(it.listen.First, p.First)); port <= int(min(it.listen.Last, p.Last)); port++ {
		r.ports = rules.Ports{First: uint16(port), Last: uint16(port)}
		r.port = it.target + uint16(port) - it.listen.First
		list = append(list, r)
	}
	return list
}

// comparePrefix orders networks by address, and puts the wider one first.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
