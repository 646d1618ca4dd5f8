package ipt

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"portmap/rules"
)

// maxComment is the longest comment in bytes (XT_MAX_COMMENT_LEN, linux/netfilter/xt_comment.h, less the NUL).
const maxComment = 255

// supported refuses what this backend cannot put into the kernel.
func supported(m *rules.Mapping) error {
	if err := m.PortOnly(); err != nil {
		return err
	}
	if m.Interface() == "!" { // to iptables that is "not"
		return &rules.UnsupportedError{Part: "--interface !"}
	}
	return nil
}

// item is one protocol of a mapping, in one family, on its way into chains.
type item struct {
	mapping  int
	protocol rules.Protocols
	listen   rules.Ports
	target   uint16 // for the first listen port
	address  netip.Addr
	iface    string
	source   netip.Prefix
	gate     string // the chain that asks for the source, where there are several; ports are told apart behind it
	text     string // the mapping's
	comment  string
}

// encode returns the chains of one family for mappings, which are supported; where none is of that family, no chain but that
// of the notes. The same mappings, in whatever order, come to the same chains.
func encode(mappings []rules.Mapping, family rules.Families) []chain {
	return encodeNear(mappings, nil, family)
}

// encodeNear is encode for those chains alone that hold something of the mappings near, or lead to them; nil for all.
func encodeNear(mappings, near []rules.Mapping, family rules.Families) []chain {
	t := &tree{near: near}
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
		t.everything(items)
	}
	inOrder := func(a, b int) int { return rules.Compare(mappings[a], mappings[b]) }
	slices.SortFunc(gated, inOrder)
	slices.SortFunc(noted, inOrder)
	for _, i := range gated {
		t.gate(&mappings[i], i, sourcesIn(&mappings[i], family))
	}
	if family != notesFamily || len(mappings) == 0 {
		return t.chains
	}
	at := t.open(textChain)
	for _, i := range noted {
		for _, note := range notes(&mappings[i]) {
			t.add(at, rule{"-m comment --comment " + quoted(note), -1})
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
	if pieces := m.Pieces(maxComment); len(pieces) > 0 || !m.Temporary() {
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

// appendItems appends a mapping's items, and returns its sources.
//
// A mapping with several sources is cut in two, so that its rules are as many as its sources and its ports together, and not
// the one times the other: a first chain asks for the source, a second for the port.
func appendItems(items []item, m *rules.Mapping, number int, family rules.Families) ([]item, []netip.Prefix) {
	it := item{mapping: number, listen: m.ListenPorts(), target: m.TargetPorts().First, text: m.String(), comment: m.Label(maxComment)}
	var sources []netip.Prefix
	if !m.Plain() {
		it.address, it.iface = m.Listen(), m.Interface()
		switch sources = sourcesIn(m, family); len(sources) {
		case 0:
		case 1:
			it.source = sources[0]
		default:
			it.gate = hashed(sourcesOf, m.String())
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

// compareItems orders the rules of a chain.
func compareItems(a, b *item) int {
	return cmp.Or(cmp.Compare(a.listen.First, b.listen.First), strings.Compare(a.text, b.text), cmp.Compare(a.protocol, b.protocol))
}

// rulesIn returns how many rules the item has for a range of ports: one a port, so that each goes to its own target. (A
// shifted range, `DNAT --to-destination :9000-9010/8000`, takes the next port, and so another server, where the tuple of the
// right one is in use: nf_nat_core.c, nf_nat_l4proto_unique_tuple.)
func (it *item) rulesIn(p rules.Ports) int {
	if it.gate != "" {
		return 1
	}
	return int(min(it.listen.Last, p.Last)) - int(max(it.listen.First, p.First)) + 1
}

// rules returns the item's rules for a range of ports, which it overlaps.
func (it *item) rules(p rules.Ports) []rule {
	var b []byte
	if it.source.IsValid() && it.source.Bits() > 0 {
		b = append(it.source.AppendTo(append(b, "-s "...)), ' ')
	}
	if it.address.IsValid() {
		b = fmt.Appendf(b, "-d %s/%d ", it.address, it.address.BitLen())
	}
	if it.iface != "" {
		b = append(append(append(b, "-i "...), it.iface...), ' ')
	}
	before := len(b)
	comment := " -m comment --comment " + quoted(it.comment)
	if it.gate != "" {
		return []rule{{string(b) + toPorts(it.protocol, it.listen) + comment + " -j " + it.gate, -1}}
	}
	list := make([]rule, 0, it.rulesIn(p))
	for port := int(max(it.listen.First, p.First)); port <= int(min(it.listen.Last, p.Last)); port++ {
		b = appendPorts(b[:before], it.protocol, rules.Ports{First: uint16(port), Last: uint16(port)})
		b = append(append(b, comment...), " -j DNAT --to-destination :"...)
		b = strconv.AppendUint(b, uint64(it.target+uint16(port)-it.listen.First), 10)
		list = append(list, rule{string(b), it.mapping})
	}
	return list
}

// toPorts matches a range of ports of one protocol.
func toPorts(protocol rules.Protocols, p rules.Ports) string {
	return string(appendPorts(nil, protocol, p))
}

func appendPorts(b []byte, protocol rules.Protocols, p rules.Ports) []byte {
	name := protocol.String()
	b = append(append(append(append(append(b, "-p "...), name...), " -m "...), name...), " --dport "...)
	b = strconv.AppendUint(b, uint64(p.First), 10)
	if p.Last != p.First {
		b = strconv.AppendUint(append(b, ':'), uint64(p.Last), 10)
	}
	return b
}

// comparePrefix orders networks by address, and puts the wider one first.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
