package ipt

import (
	"fmt"
	"net/netip"
	"slices"

	"portmap/rules"
)

// leaf is how many rules a chain may have before it becomes a node with chains for parts of its ports below it. With 2 halves,
// 5 times 4 quarters and a full leaf, a packet meets at most 57 rules, however many single ports are mapped.
const leaf = 32

// tree grows chains of one family. It depends on what is mapped alone, not on how that came about; a mapping more or less
// touches the chain of its ports, and where that becomes a node or a leaf, its parent.
type tree struct {
	table   table
	answers bool            // its packets are those that leave from the target ports, not those that arrive at the listen ports
	near    []rules.Mapping // what the chains asked for are about; nil for all chains
	chains  []chain
}

// portsOf returns the ports by which the tree tells a mapping's packets.
func (t *tree) portsOf(m *rules.Mapping) rules.Ports {
	if t.answers {
		target, _ := m.TargetPorts() // of this host: no other mapping is supported
		return target
	}
	return m.ListenPorts()
}

func (t *tree) isNear(m *rules.Mapping) bool {
	return t.near == nil || slices.ContainsFunc(t.near, m.Equal)
}

// leadsNear reports whether a box has room for one of the mappings that the tree is asked about.
func (t *tree) leadsNear(b box) bool {
	return t.near == nil || slices.ContainsFunc(t.near, func(m rules.Mapping) bool {
		return b.protocols&m.Protocols() != 0 && b.ports.Overlaps(t.portsOf(&m))
	})
}

// box is what the packets of a chain have in common.
type box struct {
	protocols rules.Protocols
	ports     rules.Ports // First may be 0, which no mapping has: quarters are even
}

var everyPort = rules.Ports{First: 0, Last: 65535}

// leadingTo returns the rule by which a packet of the parent gets into the chain of the box.
func (b box) leadingTo(chain string) rule {
	r := rule{protocol: b.protocols, verdict: goTo, chain: chain}
	if b.ports != everyPort {
		r.ports = b.ports
	}
	return r
}

// parts cuts the box by protocol, or its ports into halves and then quarters, so that the smallest that still matter have
// as many ports as a leaf has rules.
func (b box) parts() []box {
	if b.protocols.Number() == 0 {
		return []box{{rules.TCP, b.ports}, {rules.UDP, b.ports}}
	}
	count := 4
	if b.ports == everyPort || b.ports.Count() == 2 {
		count = 2
	}
	size := b.ports.Count() / count
	var parts []box
	for i := range count {
		first := int(b.ports.First) + i*size
		parts = append(parts, box{b.protocols, rules.Ports{First: uint16(first), Last: uint16(first + size - 1)}})
	}
	return parts
}

// holds reports whether an item has ports in the box.
func (b box) holds(it *item) bool {
	return b.protocols.Has(it.protocol) && b.ports.Overlaps(it.listen)
}

// readable names the chain of a box so that it can be found by its ports.
func readable(b box) string {
	kind := "PORTMAP-TCP"
	if b.protocols == rules.UDP {
		kind = "PORTMAP-UDP"
	}
	if b.ports == everyPort {
		return kind
	}
	return fmt.Sprintf("%s-%d-%d", kind, b.ports.First, b.ports.Last)
}

// open adds an empty chain, and returns its number: chains stand behind those that lead to them.
func (t *tree) open(name string) int {
	t.chains = append(t.chains, chain{id: chainID{t.table, name}})
	return len(t.chains) - 1
}

// add adds a rule to a chain. It is written for packets that arrive.
func (t *tree) add(at int, r rule, mapping int) {
	if t.answers {
		r = r.backward()
	}
	t.chains[at].rules = append(t.chains[at].rules, line{rule: r, mapping: mapping})
}

func pointers(items []item) []*item {
	list := make([]*item, 0, len(items))
	for i := range items {
		list = append(list, &items[i])
	}
	return list
}

// grow makes the chain of a box and those below it.
func (t *tree) grow(name string, b box, items []*item, nameOf func(box) string) {
	at := t.open(name)
	count := 0
	for _, it := range items {
		count += it.rulesIn(b.ports)
	}
	switch {
	case count <= leaf:
		t.addItems(at, b, items)
		return
	case b.ports.Count() == 1:
		t.addresses(at, b, items)
		return
	}
	var whole, rest []*item
	for _, it := range items {
		if it.covers(b) { // it would stand in each of the parts
			whole = append(whole, it)
		}
	}
	if rest = items; len(whole) > 0 {
		rest = slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.covers(b) })
	}
	t.addItems(at, b, whole)
	for _, part := range b.parts() {
		if !slices.ContainsFunc(rest, part.holds) {
			continue
		}
		child := nameOf(part)
		t.add(at, part.leadingTo(child), -1)
		if t.leadsNear(part) {
			inside := make([]*item, 0, len(rest)/2)
			for _, it := range rest {
				if part.holds(it) {
					inside = append(inside, it)
				}
			}
			t.grow(child, part, inside, nameOf)
		}
	}
}

// addItems adds the items' rules for the ports of a box.
func (t *tree) addItems(at int, b box, items []*item) {
	sortItems(items, b.ports)
	for _, it := range items {
		for _, r := range it.rules(b.ports) {
			t.add(at, r, it.mapping)
		}
	}
}

// covers reports whether one rule of the item is for all of the box.
func (it *item) covers(b box) bool {
	return (it.gate != "" || it.drops) && b.protocols == it.protocol && it.listen.First <= max(b.ports.First, 1) && it.listen.Last >= b.ports.Last
}

// addresses tells many mappings of one port apart by their listen addresses.
func (t *tree) addresses(at int, b box, items []*item) {
	sortItems(items, b.ports)
	var entries []entry
	for _, it := range items {
		for _, r := range it.rules(b.ports) {
			if it.address.IsValid() {
				entries = append(entries, entry{r.destination, r, it.mapping})
			} else {
				t.add(at, r, it.mapping)
			}
		}
	}
	t.networks(at, byDestination, entries, func(p netip.Prefix) string {
		return hashed(addressesOf, t.table, t.answers, b.protocols, b.ports.First, p)
	})
}

// byDestination and bySource return the rule that leads the packets of a network to a chain.
func byDestination(p netip.Prefix, chain string) rule {
	return rule{destination: p, verdict: goTo, chain: chain}
}

func bySource(p netip.Prefix, chain string) rule {
	return rule{source: p, verdict: goTo, chain: chain}
}

// gate makes the chain that asks for one of several sources, and those below it. What the packets of these sources meet next
// is a rule without a source.
func (t *tree) gate(name string, sources []netip.Prefix, next rule) {
	entries := make([]entry, 0, len(sources))
	for _, source := range sources {
		r := next
		r.source = source
		entries = append(entries, entry{source, r, -1})
	}
	t.networks(t.open(name), bySource, entries, func(p netip.Prefix) string { return hashed(sourcesOf, name, p) })
}

// portsBehindGate makes the chain that asks for the ports of a mapping with several sources, and those below it.
func (t *tree) portsBehindGate(name string, m *rules.Mapping, number int) {
	bare := itemOf(m, number)
	var items []item
	for _, protocol := range m.Protocols().Each() {
		bare.protocol = protocol
		items = append(items, bare)
	}
	t.grow(name, box{rules.TCP | rules.UDP, everyPort}, pointers(items), func(b box) string {
		return hashed(portsOf, m.String(), b.protocols, b.ports)
	})
}

// entry is a rule that asks for a network.
type entry struct {
	network netip.Prefix
	rule    rule
	mapping int
}

// networks adds rules that ask for networks, with chains below for those that have more bits in common where they are too
// many for one chain. Of two networks none holds the other, or both are the same.
func (t *tree) networks(at int, by func(netip.Prefix, string) rule, entries []entry, nameOf func(netip.Prefix) string) {
	slices.SortStableFunc(entries, func(a, b entry) int { return comparePrefix(a.network, b.network) })
	var common netip.Prefix
	if len(entries) > leaf {
		common = shared(entries[0].network, entries[len(entries)-1].network)
	}
	for len(entries) > 0 {
		group := entries[:1]
		if common.IsValid() {
			group = together(entries, common.Bits()+2)
		}
		entries = entries[len(group):]
		if len(group) == 1 {
			t.add(at, group[0].rule, group[0].mapping)
			continue
		}
		below := shared(group[0].network, group[len(group)-1].network)
		if below.Bits() == below.Addr().BitLen() { // all are the same address
			for _, e := range group {
				t.add(at, e.rule, e.mapping)
			}
			continue
		}
		child := nameOf(below)
		t.add(at, by(below, child), -1)
		t.networks(t.open(child), by, group, nameOf)
	}
}

// together returns the entries at the front that have their first bits in common.
func together(entries []entry, bits int) []entry {
	bits = min(bits, entries[0].network.Addr().BitLen())
	n := 1
	for n < len(entries) && entries[0].network.Bits() >= bits && shared(entries[0].network, entries[n].network).Bits() >= bits {
		n++
	}
	return entries[:n]
}

// shared returns the longest network that holds both.
func shared(a, b netip.Prefix) netip.Prefix {
	bits := min(a.Bits(), b.Bits())
	for !netip.PrefixFrom(a.Addr(), bits).Contains(b.Addr()) {
		bits--
	}
	p, _ := a.Addr().Prefix(bits)
	return p
}
