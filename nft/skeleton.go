package nft

import "portmap/rules"

// skeleton returns the rules that are there whatever the mappings, in order.
func skeleton() []*rule {
	list := []*rule{door(chainPrerouting, "connections of other hosts"), door(chainOutput, "connections of this host")}
	for _, p := range maps() {
		list = append(list, lookup(p))
	}
	return list
}

// door lets the first packets of connections to this host into the chain with the mappings.
func door(chain, comment string) *rule {
	r := &rule{chain: chain, comment: comment}
	return r.anyPort().toThisHost().jump(chainMapped)
}

func lookup(p portMap) *rule {
	r := &rule{chain: chainMapped, comment: p.comment}
	if p.families != rules.BothFamilies {
		r.family(p.families)
	}
	return r.anyPort().dnatLookup(p)
}
