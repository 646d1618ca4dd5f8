package nft

import "portmap/rules"

// skeleton returns the rules that are there whatever the mappings, in order.
func skeleton() []*rule {
	list := []*rule{
		newRule(chainPrerouting, "connections of other hosts").anyPort().toThisHost().jump(chainMapped),
		newRule(chainPrerouting, "connections of other hosts, by a VRF").anyPort().toIncoming().jump(chainMapped),
		newRule(chainOutput, "connections of this host").anyPort().toThisHost().jump(chainMapped),
	}
	for _, p := range maps() {
		list = append(list, lookup(p))
	}
	return append(list, guards()...)
}

func lookup(p portMap) *rule {
	r := newRule(chainMapped, p.comment)
	if p.families != rules.BothFamilies {
		r.family(p.families)
	}
	return r.anyPort().dnatLookup(p)
}
