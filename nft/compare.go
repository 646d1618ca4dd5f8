package nft

import (
	"bytes"
	stdmaps "maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// explains reports whether the mapping has this element.
func (e *entry) explains(el element) bool {
	m := &e.mapping
	addr := m.Listen().BitLen() / 8
	if len(el.key) != addr+8 {
		return false
	}
	port := uint16(el.key[addr+4])<<8 | uint16(el.key[addr+5])
	if target, ok := m.TargetOf(port); !ok || target != el.target {
		return false
	}
	for _, p := range m.Protocols().Each() {
		if bytes.Equal(elementKey(m.Listen(), p, port), el.key) {
			return true
		}
	}
	return false
}

func (r *reading) chain(c chain, have map[string]kernelChain) {
	k, there := have[c.name]
	want := kernelChain{}
	if c.hook != nil {
		want = kernelChain{true, string(c.kind), uint32(*c.hook), uint32(c.priority), uint32(nftables.ChainPolicyAccept)}
	}
	switch {
	case !there:
		r.damage("chain %s is gone", c.name)
	case k != want:
		r.damage("chain %s has another type, hook, priority or policy", c.name)
	}
}

func (r *reading) set(own *nftables.Set, have []kernelSet) {
	kind := "set"
	if own.IsMap {
		kind = "map"
	}
	at := slices.IndexFunc(have, func(k kernelSet) bool { return k.name == own.Name })
	if at < 0 {
		r.damage("%s %s is gone", kind, own.Name)
		return
	}
	k := have[at]
	k.flags &^= nftables.NFT_SET_CONCAT // nft sets it for sets of intervals only
	if k != wantedSet(own) {
		r.damage("%s %s has another type, flag or comment, or a limit", kind, own.Name)
	}
}

func wantedSet(own *nftables.Set) kernelSet {
	k := kernelSet{name: own.Name, keyType: own.KeyType.GetNFTMagic(), keyLen: own.KeyType.Bytes, comment: own.Comment}
	if own.IsMap {
		k.flags, k.dataType, k.dataLen = unix.NFT_SET_MAP, own.DataType.GetNFTMagic(), own.DataType.Bytes
	}
	if own.Counter {
		k.exprs = "counter"
	}
	return k
}

// isForeign reports whether a rule in one of our chains is somebody else's: its comment is none that we write.
// What is in a chain of others goes with that.
func (r *reading) isForeign(k kernelRule) bool {
	fixed, ours := r.fixed[k.chain]
	known := func(s *rule) bool { return s.comment == k.comment }
	return ours && !slices.ContainsFunc(fixed, known) && !isLabel(k.comment) && r.entryOf([]byte(k.comment)) == nil
}

// isLabel reports whether a comment stands for a text that is elsewhere, or is a piece of one.
func isLabel(comment string) bool {
	label, _, _ := strings.Cut(comment, " ")
	_, err := strconv.ParseUint(strings.TrimPrefix(label, "~"), 16, 64)
	return len(label) == 17 && label[0] == '~' && err == nil
}

// compareRules compares the rules of our chains with what they should be. Those that are always there must be
// there in their order, those of mappings in any.
func (r *reading) compareRules(list []kernelRule, find setFinder) error {
	left := stdmaps.Clone(r.fixed)
	for _, k := range list {
		fixed, ours := r.fixed[k.chain]
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
			if form != next[0].normalForm() {
				r.damage("the rule \"%s\" in chain %s is changed", k.comment, k.chain)
			}
		}
	}
	for _, c := range chains() {
		if next := left[c.name]; len(next) > 0 {
			r.damage("chain %s has lost the rule \"%s\"", c.name, next[0].comment)
		}
	}
	return nil
}

// mappingRule notes a rule of a mapping, or of the chain of texts.
func (r *reading) mappingRule(k kernelRule, form string) {
	if k.chain == chainTexts {
		if form != note(k.comment).normalForm() {
			r.damage("a rule in chain %s is changed: %s", k.chain, k.comment)
		}
		return
	}
	e := r.entryOf([]byte(k.comment))
	if e == nil {
		r.damage("the text of %s in chain %s is gone", k.comment, k.chain)
		return
	}
	place := k.chain + " " + form
	if e.rules[place] == 0 {
		r.damage("a rule of %s in chain %s is changed, or there twice", e.mapping.Spec(), k.chain)
		return
	}
	e.rules[place]--
	e.seen++
	e.packets += k.packets
}
