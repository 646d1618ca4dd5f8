package nft

import (
	"iter"
	"math/bits"
	"net/netip"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A segment that connection tracking calls invalid (delayed, beyond the window) belongs to no connection, and
// so nothing translates it (nf_conntrack_proto_tcp.c, nf_conntrack_tcp_packet). A client's meets the listen
// port, where nobody listens, a server's leaves with the target port, which the client does not know: the
// answer to both is a reset, and the connection ends. Dropped, it is sent again, and the connection goes on.
//
// Both guards ask for the state first: all other packets pay for one comparison. They look into sets of their
// own: a lookup in a map is counted in its element (nft_lookup.c, nft_lookup_eval), and that counts
// connections.

// guards returns the rules that drop such segments, but those of mappings with --source or --interface.
func guards() []*rule {
	list := []*rule{
		newRule(chainGuardPrerouting, "all but invalid segments pass").unlessInvalid(),
		newRule(chainGuardPrerouting, "invalid segments to this host").protocol(rules.TCP).toThisHost().jump(chainInvalid),
		newRule(chainGuardPrerouting, "invalid segments to this host, by a VRF").
			protocol(rules.TCP).toIncoming().jump(chainInvalid),
		newRule(chainGuardOutput, "all but invalid segments pass").unlessInvalid(),
		newRule(chainGuardOutput, "invalid segments of servers behind mappings").fromTarget().drop(),
	}
	for _, p := range maps() {
		r := newRule(chainInvalid, p.comment)
		if p.families != rules.BothFamilies {
			r.family(p.families)
		}
		list = append(list, r.protocol(rules.TCP).toMapped(p).drop())
	}
	return list
}

// dropRestricted returns the rules that drop the invalid segments of a mapping with --source or --interface.
func dropRestricted(m *rules.Mapping) []*rule {
	if !m.Protocols().Has(rules.TCP) {
		return nil
	}
	var list []*rule
	for _, sources := range sourceGroups(m) {
		r := newRule(chainInvalid, label(m)).restrict(m, sources)
		list = append(list, r.protocol(rules.TCP).toPorts(m.ListenPorts()).drop())
	}
	return list
}

// unlessInvalid ends the chain for a packet of any other state.
func (r *rule) unlessInvalid() *rule {
	return r.add("ct state != invalid return",
		&expr.Ct{Key: expr.CtKeySTATE, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: nativeBytes(expr.CtStateBitINVALID)},
		&expr.Verdict{Kind: expr.VerdictReturn})
}

// toMapped matches segments to a port that the map has.
func (r *rule) toMapped(p portMap) *rule {
	text, _ := p.keyText()
	key, _ := p.find()
	name := p.tcpSet().Name
	return r.add(text+" @"+name, append(key, &expr.Lookup{SourceRegister: regFirst, SetName: name})...)
}

// fromTarget matches packets that leave from a target port.
func (r *rule) fromTarget() *rule {
	source := portField(regKey + 1)
	source.Offset = 0
	return r.add("meta l4proto . th sport @"+targetsName,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regFirst}, source,
		&expr.Lookup{SourceRegister: regFirst, SetName: targetsName})
}

func (r *rule) drop() *rule { return r.add("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

// portSet is a set of ports.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(p rules.Ports) {
	for port := int(p.First); port <= int(p.Last); port++ {
		s[port/64] |= 1 << (port % 64)
	}
}

func (s *portSet) hasAll(p rules.Ports) bool {
	for port := int(p.First); port <= int(p.Last); port++ {
		if s[port/64]&(1<<(port%64)) == 0 {
			return false
		}
	}
	return true
}

func (s *portSet) remove(o *portSet) {
	for i := range s {
		s[i] &^= o[i]
	}
}

func (s *portSet) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// targetElements returns the elements of the set `targets`.
func (s *portSet) targetElements() iter.Seq[nftables.SetElement] {
	return func(yield func(nftables.SetElement) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				port := uint16(i*64 + bits.TrailingZeros64(word))
				if !yield(nftables.SetElement{Key: elementKey(netip.Addr{}, rules.TCP, port)}) {
					return
				}
			}
		}
	}
}

// targetsOf returns the target ports of mappings for TCP.
func targetsOf(mappings []rules.Mapping) *portSet {
	targets := &portSet{}
	for i := range mappings {
		targets.addTargets(&mappings[i])
	}
	return targets
}

func (s *portSet) addTargets(m *rules.Mapping) {
	if target, here := m.TargetPorts(); here && m.Protocols().Has(rules.TCP) {
		s.add(target)
	}
}

// targetOf returns the port of an element of the set `targets`; false for an element that cannot be ours.
func targetOf(e element) (uint16, bool) {
	if len(e.key) != 8 || e.key[0] != unix.IPPROTO_TCP {
		return 0, false
	}
	return uint16(e.key[4])<<8 | uint16(e.key[5]), true
}

// listAtMost is how many mappings may be live for a removal to read them.
const listAtMost = 1000

// unused returns the target ports that no mapping has after the change. A port that stays in the set too long
// does little harm: an invalid segment that leaves from it is dropped. So where many mappings are live they are
// not read to find out.
func (b *Backend) unused(change rules.Change) (*portSet, error) {
	if len(change.Before) > listAtMost {
		return &portSet{}, nil
	}
	unused := targetsOf(change.Remove)
	unused.remove(targetsOf(change.Add))
	unused.remove(targetsOf(rules.Minus(change.Before, change.Remove)))
	if unused.count() == 0 {
		return unused, nil
	}
	used, err := b.targetsBeside(change.Remove)
	if err != nil {
		return nil, err
	}
	unused.remove(used)
	return unused, nil
}

// targetsBeside reads the target ports of all live mappings but those given.
func (b *Backend) targetsBeside(mappings []rules.Mapping) (*portSet, error) {
	gone := make(map[string]bool, len(mappings))
	for i := range mappings {
		gone[label(&mappings[i])] = true
	}
	used := &portSet{}
	for _, p := range maps() {
		note := func(encoded []byte) {
			if e := decodeElement(encoded); isTCP(e.key) && !gone[string(e.comment)] { // a catchall element has no key
				used.add(rules.Ports{First: e.target, Last: e.target})
			}
		}
		if err := b.elements(p.name, func() {}, note); err != nil {
			return nil, err
		}
	}
	list, err := b.rules("")
	if err != nil {
		return nil, err
	}
	r := newReading()
	r.joinTexts(list)
	for _, k := range list {
		if k.chain != chainInvalid || gone[k.comment] {
			continue
		}
		if e := r.entryOf([]byte(k.comment)); e != nil {
			used.addTargets(&e.mapping)
		}
	}
	return used, nil
}
