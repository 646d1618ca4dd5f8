package nft

// skeleton returns the rules that are there whatever the mappings, in order.
func skeleton() []*rule {
	rules := []*rule{door(chainPrerouting, "connections of other hosts"), door(chainOutput, "connections of this host")}
	for _, p := range maps() {
		rules = append(rules, lookup(p))
	}
	return rules
}

// door lets the first packets of connections to this host into the chain with the mappings.
func door(chain, comment string) *rule {
	r := &rule{chain: chain, comment: comment}
	return r.anyPort().toThisHost().jump(chainMapped)
}

func lookup(p portMap) *rule {
	r := &rule{chain: chainMapped, comment: p.comment}
	if !p.address && p.name != "ports" {
		r.family(p.families)
	}
	if p.address {
		r.exprs = append(r.exprs, isFamily(familyNumber(p.families))...) // nft adds this by itself where a rule says `ip daddr`
	}
	return r.anyPort().dnatLookup(p)
}
