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
	comment  string
}

// encode returns the chains of one family for mappings, which are supported; none where none is of that family. The same
// mappings, in whatever order, come to the same chains.
func encode(mappings []rules.Mapping, family rules.Families) []chain {
	return encodeNear(mappings, nil, family)
}

// encodeNear is encode for those chains alone that hold something of the mappings near, or lead to them; nil for all.
func encodeNear(mappings, near []rules.Mapping, family rules.Families) []chain {
	order := make([]int, 0, len(mappings))
	for i := range mappings {
		if mappings[i].Families().Has(family) {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		return nil
	}
	slices.SortFunc(order, func(a, b int) int { return rules.Compare(mappings[a], mappings[b]) })
	items := make([]item, 0, len(order))
	t := &tree{family: family, near: near}
	texts := chain{name: textChain}
	var gates []gate
	for _, i := range order {
		m := &mappings[i]
		gated := gateOf(m, family)
		items = append(items, itemsOf(m, i, family, gated)...)
		if gated.sources != nil && t.isNear(m) {
			gates = append(gates, gate{i, gated})
		}
		for _, note := range notes(m) {
			texts.rules = append(texts.rules, rule{"-m comment --comment " + quoted(note), -1})
		}
	}
	t.everything(items)
	for _, g := range gates {
		t.gate(&mappings[g.mapping], g.mapping, g.sourceGate)
	}
	if len(texts.rules) > 0 {
		t.chains = append(t.chains, texts)
	}
	return t.chains
}

// notes are the comments of a mapping in the chain where no packet comes: the pieces of a long text, or the text where it is
// temporary. So a host without that chain has no temporary mappings.
func notes(m *rules.Mapping) []string {
	if pieces := m.Pieces(maxComment); len(pieces) > 0 || !m.Temporary() {
		return pieces
	}
	return []string{m.String()}
}

// sourceGate is how a mapping with several sources is cut in two, so that its rules are as many as its sources and its
// ports together, and not the one times the other: the first chain asks for the source, the second for the port.
type sourceGate struct {
	sources     []netip.Prefix
	first, then string // chains
}

type gate struct {
	mapping int
	sourceGate
}

// gateOf returns the zero value for a mapping with at most one source in the family.
func gateOf(m *rules.Mapping, family rules.Families) sourceGate {
	sources := sourcesIn(m, family)
	if len(sources) < 2 {
		return sourceGate{}
	}
	return sourceGate{sources, hashed(sourcesOf, m.String()), hashed(portsOf, m.String())}
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

func itemsOf(m *rules.Mapping, number int, family rules.Families, g sourceGate) []item {
	it := item{mapping: number, listen: m.ListenPorts(), target: m.TargetPorts().First, comment: m.Label(maxComment), gate: g.first}
	if !m.Plain() {
		it.address, it.iface = m.Listen(), m.Interface()
		if sources := sourcesIn(m, family); len(sources) == 1 {
			it.source = sources[0]
		}
	}
	list := make([]item, 0, 2)
	for _, p := range m.Protocols().Each() {
		it.protocol = p
		list = append(list, it)
	}
	return list
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
	var before strings.Builder
	if it.source.IsValid() && it.source.Bits() > 0 {
		before.WriteString("-s " + it.source.String() + " ")
	}
	if it.address.IsValid() {
		fmt.Fprintf(&before, "-d %s/%d ", it.address, it.address.BitLen())
	}
	if it.iface != "" {
		before.WriteString("-i " + it.iface + " ")
	}
	comment := " -m comment --comment " + quoted(it.comment)
	if it.gate != "" {
		return []rule{{before.String() + toPorts(it.protocol, it.listen) + comment + " -j " + it.gate, -1}}
	}
	list := make([]rule, 0, it.rulesIn(p))
	for port := int(max(it.listen.First, p.First)); port <= int(min(it.listen.Last, p.Last)); port++ {
		target := it.target + uint16(port) - it.listen.First
		one := rules.Ports{First: uint16(port), Last: uint16(port)}
		text := before.String() + toPorts(it.protocol, one) + comment + " -j DNAT --to-destination :" + strconv.Itoa(int(target))
		list = append(list, rule{text, it.mapping})
	}
	return list
}

// toPorts matches a range of ports of one protocol.
func toPorts(protocol rules.Protocols, p rules.Ports) string {
	name := protocol.String()
	text := "-p " + name + " -m " + name + " --dport " + strconv.Itoa(int(p.First))
	if p.Last != p.First {
		text += ":" + strconv.Itoa(int(p.Last))
	}
	return text
}

// comparePrefix orders networks by address, and puts the wider one first.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
