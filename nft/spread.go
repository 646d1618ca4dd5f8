package nft

import (
	"fmt"
	"strings"

	"portmap/rules"
	"portmap/rules/facts"
	"portmap/rules/ruletext"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A mapping with several targets has a chain of its own, with a rule for each of them: the numbers by which they take
// turns count its connections only. A verdict map leads there, so that a packet pays for one lookup, whatever the
// number of such mappings. One that is restricted to clients of a source or an interface has these rules in the chain
// `mapped`, as all such mappings have.

// spreadPrefix begins the name of each of these chains, and of nothing else.
const spreadPrefix = "spread_"

// spreadChain is the name of the mapping's chain. Its text does not fit: a name has letters and digits only.
func spreadChain(m *rules.Mapping) string { return spreadPrefix + ruletext.Hash(m.String()) }

// chainKind is the name of the place for the rules of a chain: for those of one mapping the beginning of it.
func chainKind(chain string) string {
	if strings.HasPrefix(chain, spreadPrefix) {
		return spreadPrefix
	}
	return chain
}

// isSpread reports whether a mapping has a chain of its own.
func isSpread(m *rules.Mapping) bool {
	return !facts.Plain(m) && !facts.Restricted(m) && (isSpreadIn(m, rules.IPv4) || isSpreadIn(m, rules.IPv6))
}

// isSpreadIn reports whether connections of one family are spread over several targets.
func isSpreadIn(m *rules.Mapping, f rules.Families) bool {
	return m.Families().Has(f) && len(facts.TargetsIn(m, f)) > 1
}

// spreadElements returns the elements of a mapping that lead to its chain: a range for each family that is spread.
func (p portMap) spreadElements(list []keyRange, m *rules.Mapping, r keyRange) []keyRange {
	if !isSpread(m) || m.Listen().IsValid() != (p.key.address != 0) {
		return list
	}
	r.chain = spreadChain(m)
	for _, f := range p.families.Each() {
		if r.family = f; isSpreadIn(m, f) {
			list = append(list, r)
		}
	}
	return list
}

// spreadRules returns the rules of a mapping in its own chain.
func spreadRules(m *rules.Mapping) []*rule {
	if !isSpread(m) {
		return nil
	}
	return translations(spreadChain(m), m)
}

// spreadChains returns the chains of mappings.
func spreadChains(mappings []rules.Mapping) (names []string) {
	for i := range mappings {
		if m := &mappings[i]; isSpread(m) {
			names = append(names, spreadChain(m))
		}
	}
	return names
}

// gotoLookup leads to the chain that the map has for the packet. If it has none, the next rule is tried.
func (r *rule) gotoLookup(p portMap) *rule {
	text, _ := p.key.text()
	return r.add(text+" vmap @"+p.name,
		append(p.key.load(), &expr.Lookup{SourceRegister: regFirst, SetName: p.name, IsDestRegSet: true})...)
}

// everyNth matches the first of each n connections. It counts those that reach the rule.
func (r *rule) everyNth(n int) *rule {
	return r.add(fmt.Sprintf("numgen inc mod %d 0", n),
		&expr.Numgen{Register: regFirst, Modulus: uint32(n), Type: unix.NFT_NG_INCREMENTAL},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: nativeBytes(0)})
}

// stickySeed is the seed of the hash that gives clients to targets. It never changes: a client stays on its target over
// a reboot, too.
const stickySeed = 0x706f7274

// hashedTo matches the clients whose address has a hash, of as many as there are targets.
func (r *rule) hashedTo(f rules.Families, number, targets int) *rule {
	source := sourceField(f, regKey+4)
	text := fmt.Sprintf("jhash %s saddr mod %d seed 0x%x %d", addrWord(f), targets, stickySeed, number)
	return r.add(text, source,
		&expr.Hash{SourceRegister: source.DestRegister, DestRegister: regFirst, Length: source.Len,
			Modulus: uint32(targets), Seed: stickySeed, Type: expr.HashTypeJenkins},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: nativeBytes(uint32(number))})
}
