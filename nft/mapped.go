package nft

import (
	"net/netip"

	"portmap/rules"
	"portmap/rules/facts"
)

// What translates: the maps, and the rules of mappings that a map cannot hold.

// portMap is a map from what a packet is addressed to, to the server.
type portMap struct {
	name     string
	comment  string // of the rule that looks a packet up
	families rules.Families
	key      key
	leads    leads
}

// leads is where a map leads.
type leads uint8

const (
	toPort     leads = iota // of this host, at the address that the packet has
	toHost                  // another one
	toLoopback              // an address there
	toChain                 // of a mapping with several targets
)

// maps lists the maps in the order in which a packet meets them. No packet is in two of them: a Set sees to that.
func maps() []portMap {
	address4, address6 := key{address: rules.IPv4}, key{address: rules.IPv6}
	return []portMap{
		{"ports", "every address, IPv4 and IPv6", rules.BothFamilies, key{}, toPort},
		{"ports4", "every address, IPv4 only", rules.IPv4, key{}, toPort},
		{"ports6", "every address, IPv6 only", rules.IPv6, key{}, toPort},
		{"addr4", "one IPv4 address", rules.IPv4, address4, toPort},
		{"addr6", "one IPv6 address", rules.IPv6, address6, toPort},
		{"remote4", "every address, to another host, IPv4", rules.IPv4, key{}, toHost},
		{"remote6", "every address, to another host, IPv6", rules.IPv6, key{}, toHost},
		{"addr_remote4", "one IPv4 address, to another host", rules.IPv4, address4, toHost},
		{"addr_remote6", "one IPv6 address, to another host", rules.IPv6, address6, toHost},
		{"loopback4", "every address, to loopback", rules.IPv4, key{}, toLoopback},
		{"addr_loopback4", "one IPv4 address, to loopback", rules.IPv4, address4, toLoopback},
		{"addr_loopback6", "one IPv6 address, to loopback", rules.IPv6, address6, toLoopback},
		{"spread", "every address, several targets", rules.BothFamilies, key{family: true}, toChain},
		{"spread4", "one IPv4 address, several targets", rules.IPv4, address4, toChain},
		{"spread6", "one IPv6 address, several targets", rules.IPv6, address6, toChain},
	}
}

// addresses is the family of the addresses to which the map leads; 0 if it leads to none.
func (p portMap) addresses() rules.Families {
	if p.leads == toHost || p.leads == toLoopback {
		return p.families
	}
	return 0
}

// tcpSet is the name of the set of the map's keys for TCP. It has no counters: the guards look invalid segments up in
// it, and a lookup in the map would count them as connections. See invalid.go.
func (p portMap) tcpSet() string { return "tcp_" + p.name }

// target returns the server to which the map leads packets of a mapping; false for one that it does not hold. A mapping
// that has no rules of its own is, for each of its families, in exactly one map.
func (p portMap) target(m *rules.Mapping) (t rules.Target, holds bool) {
	if facts.Restricted(m) || m.Listen().IsValid() != (p.key.address != 0) {
		return t, false
	}
	if p.leads == toPort {
		t.Ports, holds = m.TargetPorts()
		return t, holds && m.Families() == p.families
	}
	if facts.Plain(m) || !m.Families().Has(p.families) || len(facts.LocalTargets(m)) > 0 {
		return t, false
	}
	targets := facts.TargetsIn(m, p.families)
	if len(targets) != 1 {
		return t, false
	}
	return targets[0], targets[0].Remote() == (p.leads == toHost)
}

// elements returns the elements of a mapping in the map: one a protocol and port.
func (p portMap) elements(list []keyRange, m *rules.Mapping) []keyRange {
	for _, protocol := range [...]rules.Protocols{rules.TCP, rules.UDP} {
		if m.Protocols().Has(protocol) {
			list = p.elementsOf(list, m, protocol)
		}
	}
	return list
}

// tcpElements returns the elements of a mapping in the set of the map's keys for TCP.
func (p portMap) tcpElements(list []keyRange, m *rules.Mapping) []keyRange {
	if !m.Protocols().Has(rules.TCP) {
		return list
	}
	return p.elementsOf(list, m, rules.TCP)
}

func (p portMap) elementsOf(list []keyRange, m *rules.Mapping, protocol rules.Protocols) []keyRange {
	r := keyRange{address: m.Listen(), protocol: protocol, ports: m.ListenPorts()}
	if p.leads == toChain {
		return p.spreadElements(list, m, r)
	}
	target, holds := p.target(m)
	if !holds {
		return list
	}
	r.to, r.target = target.Addr, target.Ports.First
	return append(list, r)
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

// toRemote returns the family of addresses of other hosts to which the map leads; 0 for this host.
func (p portMap) toRemote() rules.Families {
	if p.leads != toHost || p.key.address != 0 { // that address is no loopback one
		return 0
	}
	return p.families
}

// lookups returns the rules that look a packet up in the maps.
func lookups() []*rule {
	var list []*rule
	for _, p := range maps() {
		r := newRule(chainMapped, p.comment).ofFamilies(p.families).fromAfar(p.toRemote())
		if r.anyPort(); p.leads == toChain {
			list = append(list, r.gotoLookup(p))
		} else {
			list = append(list, r.dnatLookup(p))
		}
	}
	return list
}

// perRule bounds the elements of an anonymous set: one message holds them all, and its length is a 16-bit number.
const perRule = 1000

// restrict matches what a mapping asks of a packet beside protocol and port.
func (r *rule) restrict(m *rules.Mapping, c clients) *rule {
	switch {
	case len(c.sources) > 0:
		r.fromNetworks(c.families, c.sources)
	case m.Listen().IsValid():
		r.exprs = append(r.exprs, isFamily(familyNumber(m.Families()))...)
	default:
		r.ofFamilies(c.families)
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
