package nft

import (
	"portmap/rules"
	"portmap/rules/facts"
)

// What the options --owner and --hide ask of packets stands in sets, so that a packet pays the same however many
// mappings have them.

// guardSet is one of these sets. Of several that a packet is looked up in, a mapping has elements in one.
type guardSet struct {
	name  string
	key   key
	wants func(*rules.Mapping) bool // whether the option is given
}

// guardSets lists the sets of both options.
func guardSets() []guardSet {
	list := ownerSets("owners", true)
	list = append(list, ownerSets("owned", false)...)
	return append(list, hiddenSets()...)
}

// elements returns the elements of a mapping in the set: one a family, protocol, server on this host and port.
func (s guardSet) elements(list []keyRange, m *rules.Mapping) []keyRange {
	if !s.wants(m) || !s.key.answer && s.key.iface != (m.Interface() != "") {
		return list
	}
	for _, target := range facts.LocalTargets(m) {
		list = s.elementsTo(list, m, target, m.Listen().IsValid())
	}
	for _, t := range m.Targets() {
		if t.Addr.IsLoopback() { // which is the source of its answers, in the place of the listen address
			list = s.elementsTo(list, m, t.Ports, !s.key.answer && m.Listen().IsValid())
		}
	}
	return list
}

// elementsTo returns those of one server, which are told apart by the listen address or by the family.
func (s guardSet) elementsTo(list []keyRange, m *rules.Mapping, target rules.Ports, byAddress bool) []keyRange {
	if byAddress != (s.key.address != 0) || s.key.address != 0 && m.Families() != s.key.address {
		return list
	}
	r := keyRange{ports: target}
	if s.key.answer {
		r.ports, r.target = m.ListenPorts(), target.First
	}
	if s.key.iface {
		r.iface = m.Interface()
	}
	if s.key.uid {
		r.uid, _ = m.UID()
	}
	if byAddress {
		r.address = m.Listen()
	}
	for _, family := range [...]rules.Families{rules.IPv4, rules.IPv6} {
		if !m.Families().Has(family) {
			continue
		}
		if s.key.family {
			r.family = family
		}
		for _, r.protocol = range m.Protocols().Each() {
			list = append(list, r)
		}
	}
	return list
}

// lookup returns a rule that goes on if the packet is in the set.
func (s guardSet) lookup(chain, comment string) *rule {
	return newRule(chain, comment).ofFamilies(s.families()).anyPort().inSet(s.key, s.name)
}

// families returns the families of the packets that can be in the set.
func (s guardSet) families() rules.Families {
	if s.key.address != 0 {
		return s.key.address
	}
	return rules.BothFamilies
}
