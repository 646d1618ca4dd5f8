package nft

import (
	"net/netip"

	"portmap/rules"
)

// What translates: the maps, and the rules of mappings that a map cannot hold.

// portMap is a map from what a packet is addressed to, to the server's port.
type portMap struct {
	name     string
	comment  string // of the rule that looks a packet up
	families rules.Families
	key      key
}

// maps lists the maps in the order in which a packet meets them. No packet is in two of them: a Set sees to that.
func maps() []portMap {
	return []portMap{
		{"ports", "every address, IPv4 and IPv6", rules.BothFamilies, key{}},
		{"ports4", "every address, IPv4 only", rules.IPv4, key{}},
		{"ports6", "every address, IPv6 only", rules.IPv6, key{}},
		{"addr4", "one IPv4 address", rules.IPv4, key{rules.IPv4}},
		{"addr6", "one IPv6 address", rules.IPv6, key{rules.IPv6}},
	}
}

// tcpSet is the name of the set of the map's keys for TCP. It has no counters: the guards look invalid segments up in
// it, and a lookup in the map would count them as connections. See invalid.go.
func (p portMap) tcpSet() string { return "tcp_" + p.name }

// holds reports whether a mapping is in this map. Each that is not restricted is in exactly one.
func (p portMap) holds(m *rules.Mapping) bool {
	if m.Families() != p.families || m.Restricted() {
		return false
	}
	return m.Listen().IsValid() == (p.key.address != 0)
}

// elements returns the elements of a mapping in the map: one a protocol and port.
func (p portMap) elements(list []keyRange, m *rules.Mapping) []keyRange {
	if !p.holds(m) {
		return list
	}
	target, _ := m.TargetPorts() // of this host: no other mapping is supported
	r := keyRange{address: m.Listen(), ports: m.ListenPorts(), target: target.First}
	for _, protocol := range [...]rules.Protocols{rules.TCP, rules.UDP} {
		if r.protocol = protocol; m.Protocols().Has(protocol) {
			list = append(list, r)
		}
	}
	return list
}

// tcpElements returns the elements of a mapping in the set of the map's keys for TCP.
func (p portMap) tcpElements(list []keyRange, m *rules.Mapping) []keyRange {
	if !m.Protocols().Has(rules.TCP) || !p.holds(m) {
		return list
	}
	return append(list, keyRange{address: m.Listen(), protocol: rules.TCP, ports: m.ListenPorts()})
}

// toMappedArriving returns the rules of the chain that other hosts' connections meet, toMappedLeaving those of the
// chain that this host's own meet.
func toMappedArriving() []*rule {
	return []*rule{
		newRule(chainPrerouting, "connections of other hosts").anyPort().toThisHost().jump(chainMapped),
		newRule(chainPrerouting, "connections of other hosts, by a VRF").anyPort().toIncoming().jump(chainMapped),
	}
}

func toMappedLeaving() []*rule {
	return []*rule{newRule(chainOutput, "connections of this host").anyPort().toThisHost().jump(chainMapped)}
}

// lookups returns the rules that look a packet up in the maps.
func lookups() []*rule {
	var list []*rule
	for _, p := range maps() {
		list = append(list, newRule(chainMapped, p.comment).ofFamilies(p.families).anyPort().dnatLookup(p))
	}
	return list
}

// perRule bounds the elements of an anonymous set: one message holds them all, and its length is a 16-bit number.
const perRule = 1000

// restricted returns the rules of a mapping with --source or --interface: one a family that its sources have,
// more where a set would be too large.
func restricted(m *rules.Mapping) []*rule {
	if !m.Restricted() {
		return nil
	}
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
	default:
		r.ofFamilies(m.Families())
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
