package ipt

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"portmap/rules"
)

// leaf is how many rules a chain may have before it becomes a node with chains for parts of its ports below it. With 2
// halves, 5 times 4 quarters and a full leaf, a packet meets at most 57 rules, however many single ports are mapped.
const leaf = 32

// tree grows chains of one family. The chains depend only on what is mapped, not on how that came about. A mapping more
// or less changes the chain of its ports, and if that becomes a node or a leaf, its parent.
type tree struct {
	table table
	// its packets are those that leave from the target ports, not those that arrive at the listen ports
	answers bool
	asked   bool                               // its packets are answers, told by the ports that their clients used
	near    []rules.Mapping                    // what the chains asked for are about; nil for all chains
	portsOf func(*rules.Mapping) []rules.Ports // by which it tells a mapping's packets
	kind    string                             // tells it from another tree of its table; mostly empty
	chains  []chain
}

func listenPorts(m *rules.Mapping) []rules.Ports { return []rules.Ports{m.ListenPorts()} }

func (t *tree) isNear(m *rules.Mapping) bool {
	return t.near == nil || slices.ContainsFunc(t.near, m.Equal)
}

// leadsNear reports whether a portRange has room for one of the mappings that the tree is asked about.
func (t *tree) leadsNear(b portRange) bool {
	return t.near == nil || slices.ContainsFunc(t.near, func(m rules.Mapping) bool {
		return b.protocols&m.Protocols() != 0 && slices.ContainsFunc(t.portsOf(&m), b.ports.Overlaps)
	})
}

// portRange is what the packets of a chain have in common: protocols and ports.
type portRange struct {
	protocols rules.Protocols
	ports     rules.Ports // First may be 0, which no mapping has: quarters are even
}

var everyPort = rules.Ports{First: 0, Last: 65535}

// leadingTo returns the rule by which a packet of the parent gets into the chain of the range.
func (b portRange) leadingTo(chain string) rule {
	r := rule{protocol: b.protocols, verdict: goTo, chain: chain}
	if b.ports != everyPort {
		r.ports = b.ports
	}
	return r
}

// parts cuts the range by protocol, or its ports into halves and then quarters, so that the smallest that still matter
// have as many ports as a leaf has rules.
func (b portRange) parts() []portRange {
	if b.protocols.Number() == 0 {
		return []portRange{{rules.TCP, b.ports}, {rules.UDP, b.ports}}
	}
	count := 4
	if b.ports == everyPort || b.ports.Count() == 2 {
		count = 2
	}
	size := b.ports.Count() / count
	var parts []portRange
	for i := range count {
		first := int(b.ports.First) + i*size
		parts = append(parts, portRange{b.protocols, rules.Ports{First: uint16(first), Last: uint16(first + size - 1)}})
	}
	return parts
}

// holds reports whether an entry has ports in the range.
func (b portRange) holds(it *dnatEntry) bool {
	return b.protocols.Has(it.protocol) && b.ports.Overlaps(it.listen)
}

// readable names the chain of a portRange so that it can be found by its ports.
func readable(b portRange) string { return readableAs("PORTMAP-TCP", "PORTMAP-UDP", b) }

func readableAs(tcp, udp string, b portRange) string {
	kind := tcp
	if b.protocols == rules.UDP {
		kind = udp
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
	switch {
	case t.answers:
		r = r.backward()
	case t.asked:
		r = r.forAnswers()
	}
	t.chains[at].rules = append(t.chains[at].rules, line{rule: r, mapping: mapping})
}

func pointers(entries []dnatEntry) []*dnatEntry {
	list := make([]*dnatEntry, 0, len(entries))
	for i := range entries {
		list = append(list, &entries[i])
	}
	return list
}

// grow makes the chain of a portRange and those below it.
func (t *tree) grow(name string, b portRange, entries []*dnatEntry, nameOf func(portRange) string) {
	at := t.open(name)
	count := 0
	for _, it := range entries {
		count += it.rulesIn(b.ports)
	}
	switch {
	case count <= leaf:
		t.addEntries(at, b, entries)
		return
	case b.ports.Count() == 1:
		t.addresses(at, b, entries)
		return
	}
	var whole, rest []*dnatEntry
	for _, it := range entries {
		if it.covers(b) { // it would stand in each of the parts
			whole = append(whole, it)
		}
	}
	if rest = entries; len(whole) > 0 {
		rest = slices.DeleteFunc(slices.Clone(entries), func(it *dnatEntry) bool { return it.covers(b) })
	}
	t.addEntries(at, b, whole)
	for _, part := range b.parts() {
		if !slices.ContainsFunc(rest, part.holds) {
			continue
		}
		child := nameOf(part)
		t.add(at, part.leadingTo(child), -1)
		if t.leadsNear(part) {
			inside := make([]*dnatEntry, 0, len(rest)/2)
			for _, it := range rest {
				if part.holds(it) {
					inside = append(inside, it)
				}
			}
			t.grow(child, part, inside, nameOf)
		}
	}
}

// addEntries adds the entries' rules for the ports of a portRange.
func (t *tree) addEntries(at int, b portRange, entries []*dnatEntry) {
	sortEntries(entries, b.ports)
	for _, it := range entries {
		for _, r := range it.rules(b.ports) {
			t.add(at, r, it.mapping)
		}
	}
}

// addresses tells many mappings of one port apart by their listen addresses.
func (t *tree) addresses(at int, b portRange, entries []*dnatEntry) {
	sortEntries(entries, b.ports)
	var list []networkRule
	for _, e := range entries {
		for _, r := range e.rules(b.ports) {
			if e.address.IsValid() {
				list = append(list, networkRule{r.destination, r, e.mapping})
			} else {
				t.add(at, r, e.mapping)
			}
		}
	}
	t.networks(at, byDestination, list, func(p netip.Prefix) string {
		return hashed(addressesOf, string(t.table)+t.kind, t.answers, b.protocols, b.ports.First, p)
	})
}

// byDestination and bySource return the rule that leads the packets of a network to a chain.
func byDestination(p netip.Prefix, chain string) rule {
	return rule{destination: p, verdict: goTo, chain: chain}
}

func bySource(p netip.Prefix, chain string) rule {
	return rule{source: p, verdict: goTo, chain: chain}
}

// sources makes the chain that asks for one of several sources, and those below it. Packets of these sources meet the
// next rule, which has no source.
func (t *tree) sources(name string, sources []netip.Prefix, next rule) {
	list := make([]networkRule, 0, len(sources))
	for _, source := range sources {
		r := next
		r.source = source
		list = append(list, networkRule{source, r, -1})
	}
	t.networks(t.open(name), bySource, list, func(p netip.Prefix) string { return hashed(sourcesOf, name, p) })
}

// portsBehindSources makes the chain that asks for the ports of a mapping with several sources, and those below it.
func (t *tree) portsBehindSources(name string, m *rules.Mapping, number int, family rules.Families) {
	bare := entryOf(m, number)
	var entries []dnatEntry
	for _, protocol := range m.Protocols().Each() {
		bare.protocol = protocol
		entries = appendTargets(entries, bare, m, family)
	}
	t.grow(name, portRange{rules.TCP | rules.UDP, everyPort}, pointers(entries), func(b portRange) string {
		return hashed(portsOf, m.String(), b.protocols, b.ports)
	})
}

// networkRule is a rule that asks for a network.
type networkRule struct {
	network netip.Prefix
	rule    rule
	mapping int
}

// networks adds rules that ask for networks, with chains below for those that have more bits in common if they are too
// many for one chain. Of two networks none holds the other, or both are the same.
func (t *tree) networks(at int, by func(netip.Prefix, string) rule, list []networkRule,
	nameOf func(netip.Prefix) string) {
	sort.SliceStable(list, func(i, k int) bool { return comparePrefix(list[i].network, list[k].network) < 0 })
	var common netip.Prefix
	if len(list) > leaf {
		common = shared(list[0].network, list[len(list)-1].network)
	}
	for len(list) > 0 {
		group := list[:1]
		if common.IsValid() {
			group = together(list, common.Bits()+2)
		}
		list = list[len(group):]
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

// together returns the rules at the front whose networks have their first bits in common.
func together(list []networkRule, bits int) []networkRule {
	bits = min(bits, list[0].network.Addr().BitLen())
	n := 1
	for n < len(list) && list[0].network.Bits() >= bits && shared(list[0].network, list[n].network).Bits() >= bits {
		n++
	}
	return list[:n]
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
