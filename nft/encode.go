package nft

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"

	"portmap/rules"

	"github.com/google/nftables"
)

// objects is what mappings are in the kernel. The elements of maps are made only when they are sent: there can
// be very many.
type objects struct {
	mapped [mapCount][]*rules.Mapping // by the map that holds them
	rules  []*rule                    // in the chains `mapped` and `invalid`
	texts  []*rule
	target *portSet
}

func encode(mappings []rules.Mapping) (objects, error) {
	o := objects{target: &portSet{}}
	for i := range mappings {
		m := &mappings[i]
		if err := supports(m); err != nil {
			return objects{}, err
		}
		if m.Restricted() {
			o.rules = append(o.rules, restricted(m)...)
			o.rules = append(o.rules, dropRestricted(m)...)
		} else {
			at := mapOf(m)
			o.mapped[at] = append(o.mapped[at], m)
		}
		o.texts = append(o.texts, texts(m)...)
		o.target.addTargets(m)
	}
	return o, nil
}

// elementCount returns how many elements a mapping has: one a protocol and port.
func elementCount(m *rules.Mapping) int {
	return m.ListenPorts().Count() * len(m.Protocols().Each())
}

// elementsOf returns the elements of mappings.
func elementsOf(mappings []*rules.Mapping) iter.Seq[nftables.SetElement] {
	return func(yield func(nftables.SetElement) bool) {
		for _, m := range mappings {
			comment := label(m)
			ports := m.ListenPorts()
			target, _ := m.TargetPorts() // of this host: no other mapping is supported
			for _, protocol := range m.Protocols().Each() {
				for i := range ports.Count() {
					port := ports.First + uint16(i)
					e := nftables.SetElement{
						Key: elementKey(m.Listen(), protocol, port), Val: portBytes(target.First + uint16(i)), Comment: comment,
					}
					if !yield(e) {
						return
					}
				}
			}
		}
	}
}

// tcpElementsOf returns the keys of mappings for TCP, as elements of a set.
func tcpElementsOf(mappings []*rules.Mapping) iter.Seq[nftables.SetElement] {
	return func(yield func(nftables.SetElement) bool) {
		for e := range elementsOf(mappings) {
			if isTCP(e.Key) && !yield(nftables.SetElement{Key: e.Key}) {
				return
			}
		}
	}
}

// isTCP reports whether a key is for TCP.
func isTCP(key []byte) bool { return len(key) >= 8 && key[len(key)-8] == rules.TCP.Number() }

// elementKey joins its parts as the kernel's registers do: each begins at a multiple of four bytes.
func elementKey(listen netip.Addr, protocol rules.Protocols, port uint16) []byte {
	key := append(make([]byte, 0, 24), listen.AsSlice()...)
	key = append(key, protocol.Number(), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, port), 0, 0)
}

// keyValue writes a key as nft does: "192.0.2.7 . tcp . 443".
func keyValue(key []byte) string {
	addr, rest := key[:len(key)-8], key[len(key)-8:]
	protocol := "tcp"
	if rest[0] == rules.UDP.Number() {
		protocol = "udp"
	}
	text := fmt.Sprintf("%s . %d", protocol, binary.BigEndian.Uint16(rest[4:]))
	if a, ok := netip.AddrFromSlice(addr); ok {
		text = a.String() + " . " + text
	}
	return text
}

// perRule bounds the elements of an anonymous set: one message holds them all, and its length is a 16-bit number.
const perRule = 1000

// restricted returns the rules of a mapping with --source or --interface: one a family that its sources have,
// more where a set would be too large.
func restricted(m *rules.Mapping) []*rule {
	var list []*rule
	for _, sources := range sourceGroups(m) {
		ports := m.ListenPorts()
		for first := int(ports.First); first <= int(ports.Last); first += perRule {
			last := min(first+perRule-1, int(ports.Last))
			list = append(list, restrictedRule(m, sources, rules.Ports{First: uint16(first), Last: uint16(last)}))
		}
	}
	return list
}

func restrictedRule(m *rules.Mapping, sources []netip.Prefix, ports rules.Ports) *rule {
	r := newRule(chainMapped, label(m)).restrict(m, sources)
	r.protocol(m.Protocols()).toPorts(ports).count()
	target, _ := m.TargetOf(ports.First) // of this host: no other mapping is supported
	if ports.Count() == 1 {
		return r.dnatTo(target)
	}
	return r.dnatShifted(ports, target)
}

// restrict matches what a mapping asks of a packet beside protocol and port.
func (r *rule) restrict(m *rules.Mapping, sources []netip.Prefix) *rule {
	switch {
	case len(sources) > 0:
		r.fromNetworks(rules.FamilyOf(sources[0].Addr()), sources)
	case m.Listen().IsValid():
		r.exprs = append(r.exprs, isFamily(familyNumber(m.Families()))...)
	case m.Families() != rules.BothFamilies:
		r.family(m.Families())
	}
	if m.Interface() != "" {
		r.arrivedOn(m.Interface())
	}
	if m.Listen().IsValid() {
		r.toAddress(m.Listen())
	}
	return r
}

// sourceGroups cuts the sources into runs of one family and of a size that fits a set; one empty group where there are
// none.
func sourceGroups(m *rules.Mapping) [][]netip.Prefix {
	sources := m.Sources()
	if len(sources) == 0 {
		return [][]netip.Prefix{nil}
	}
	var groups [][]netip.Prefix
	for _, p := range sources {
		k := len(groups) - 1
		if k < 0 || len(groups[k]) == perRule/2 || groups[k][0].Addr().Is4() != p.Addr().Is4() {
			groups, k = append(groups, nil), k+1
		}
		groups[k] = append(groups[k], p)
	}
	return groups
}
