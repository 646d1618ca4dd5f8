package nft

import (
	stdmaps "maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// table reads all but the elements: what of the table is not as it should be, and what in it is of others.
func (r *reading) table(s survey) {
	if s.info.dormant {
		r.damage("the table is switched off (dormant)")
	}
	r.owner, r.chains = s.info.owner, s.own
	for i := range r.places {
		if p := &r.places[i]; p.kind == isChain {
			r.chain(p, s.chains)
		}
	}
	for i := range r.places {
		if p := &r.places[i]; p.kind < isChain {
			r.set(p, s.sets)
		}
	}
	r.joinTexts(s.rules)
	for _, k := range s.rules {
		if r.isForeign(k) {
			r.foreign = append(r.foreign, foreignRule(k))
		}
	}
	r.foreign = slices.Concat(r.foreign, foreignSets(s.sets), s.others)
}

// chain compares a chain, without its rules.
func (r *reading) chain(p *place, have map[string]kernelChain) {
	k, there := have[p.name]
	want := kernelChain{}
	if h := p.hook; h.at != nil {
		want = kernelChain{true, string(h.kind), uint32(*h.at), uint32(h.priority), uint32(nftables.ChainPolicyAccept)}
	}
	switch {
	case !there:
		r.damage("chain %s is gone", p.name)
	case k != want:
		r.damage("chain %s has another type, hook, priority or policy", p.name)
	}
}

// set compares a map or set, without its elements.
func (r *reading) set(p *place, have []kernelSet) {
	at := slices.IndexFunc(have, func(k kernelSet) bool { return k.name == p.name })
	if at < 0 {
		r.damage("%s %s is gone", p.kind, p.name)
		return
	}
	k := have[at]
	k.flags &^= nftables.NFT_SET_CONCAT // nft sets it for sets of intervals only
	if k != wantedSet(p.set()) {
		r.damage("%s %s has another type, flag or comment, or a limit", p.kind, p.name)
	}
}

func wantedSet(own *nftables.Set) kernelSet {
	k := kernelSet{name: own.Name, keyType: own.KeyType.GetNFTMagic(), keyLen: own.KeyType.Bytes, comment: own.Comment}
	if own.IsMap {
		k.flags, k.dataType, k.dataLen = unix.NFT_SET_MAP, own.DataType.GetNFTMagic(), own.DataType.Bytes
		if own.DataType == nftables.TypeVerdict {
			k.dataType = unix.NFT_DATA_VERDICT
		}
	}
	if own.Counter {
		k.exprs = "counter"
	}
	return k
}

// isForeign reports whether a rule in one of our chains is somebody else's: its comment is not one that portmap writes.
// A rule in a chain of others goes with that chain.
func (r *reading) isForeign(k kernelRule) bool {
	fixed, ours := r.fixed[chainKind(k.chain)]
	known := func(s *rule) bool { return s.comment == k.comment }
	return ours && !slices.ContainsFunc(fixed, known) && !isLabel(k.comment) && r.entryOf([]byte(k.comment)) == nil
}

// isLabel reports whether a comment stands for a text that is elsewhere, or is a piece of one.
func isLabel(comment string) bool {
	label, _, _ := strings.Cut(comment, " ")
	_, err := strconv.ParseUint(strings.TrimPrefix(label, "~"), 16, 64)
	return len(label) == 17 && label[0] == '~' && err == nil
}

// compareRules compares the rules of our chains with what they should be. Those that are there without any mapping must
// be in their order, those of mappings in any.
func (r *reading) compareRules(list []kernelRule, find setFinder) error {
	left := stdmaps.Clone(r.fixed)
	for _, k := range list {
		fixed, ours := r.fixed[chainKind(k.chain)]
		if !ours || r.isForeign(k) {
			continue
		}
		form, err := normalForm(k.exprs, find)
		if isAbsent(err) { // a set of it went meanwhile
			r.damage("chain %s changes", k.chain)
			continue
		}
		if err != nil {
			return err
		}
		at := slices.IndexFunc(fixed, func(s *rule) bool { return s.comment == k.comment })
		switch next := left[k.chain]; {
		case at < 0:
			r.mappingRule(k, form)
		case len(next) == 0 || next[0].comment != k.comment:
			r.damage("chain %s has its rules twice, or in another order", k.chain)
		default:
			left[k.chain] = next[1:]
			if form != next[0].normalForm(r.sets) {
				r.damage("the rule \"%s\" in chain %s is changed", k.comment, k.chain)
			}
		}
	}
	for i := range r.places {
		if next := left[r.places[i].name]; len(next) > 0 {
			r.damage("chain %s has lost the rule \"%s\"", r.places[i].name, next[0].comment)
		}
	}
	return nil
}
