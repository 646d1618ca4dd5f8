package nft

import (
	"bytes"
	"fmt"
	stdmaps "maps"
	"slices"
	"strconv"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// reading is what one look at the table has found so far, by the comments that name the mappings.
type reading struct {
	parser  rules.Parser
	texts   map[string]string
	entries map[string]*entry
	order   []*entry
	fixed   map[string][]*rule // the rules that are always there, by chain
	damaged string
	foreign []foreignObject
}

func newReading() *reading {
	r := &reading{entries: map[string]*entry{}, fixed: map[string][]*rule{}}
	for _, c := range chains() {
		r.fixed[c.name] = nil
	}
	for _, s := range skeleton() {
		r.fixed[s.chain] = append(r.fixed[s.chain], s)
	}
	return r
}

// entry is one mapping, and how much of it was seen.
type entry struct {
	mapping rules.Mapping
	want    int // elements, or rules
	seen    int
	packets uint64
	at      int            // the map it belongs in; negative for one that is rules
	rules   map[string]int // those, by chain and normal form
}

func (r *reading) damage(format string, args ...any) {
	if r.damaged == "" {
		r.damaged = fmt.Sprintf(format, args...)
	}
}

// entryOf finds the mapping that a comment names; nil for a comment of somebody else's making.
func (r *reading) entryOf(comment []byte) *entry {
	if e, known := r.entries[string(comment)]; known {
		return e
	}
	text := string(comment)
	if len(comment) > 0 && comment[0] == '~' {
		text = r.texts[text]
	}
	m, err := r.parser.Parse(rules.Words(text))
	if err != nil || m.String() != text || m.PortOnly() != nil {
		r.entries[string(comment)] = nil
		return nil
	}
	e := &entry{mapping: m, at: -1}
	if m.Restricted() {
		e.rules = map[string]int{}
		for _, own := range slices.Concat(restricted(&m), dropRestricted(&m)) {
			e.rules[own.chain+" "+own.normalForm()]++
			e.want++
		}
	} else {
		e.at = mapOf(&m)
		e.want = elementCount(&m)
	}
	r.entries[string(comment)] = e
	r.order = append(r.order, e)
	return e
}

// element notes one element of a map.
func (r *reading) element(at int, el element) {
	e := r.entryOf(el.comment)
	if e == nil || e.at != at || !e.explains(el) {
		r.damage("map %s has an element that no mapping explains", maps()[at].name)
		return
	}
	e.seen++
	e.packets += el.packets
}

// tcpElements compares the set of a map's keys for TCP with the map.
func (r *reading) tcpElements(p portMap, mapped, tcp []element) {
	want := make(map[string]bool, len(mapped))
	for _, el := range mapped {
		if isTCP(el.key) {
			want[string(el.key)] = true
		}
	}
	for _, el := range tcp {
		if !want[string(el.key)] {
			r.damage("set %s has an element that no mapping explains", p.tcpSet().Name)
		}
		delete(want, string(el.key))
	}
	if len(want) > 0 {
		r.damage("set %s has lost %d elements", p.tcpSet().Name, len(want))
	}
}

// explains reports whether the mapping has this element.
func (e *entry) explains(el element) bool {
	m := &e.mapping
	addr := m.Listen().BitLen() / 8
	if len(el.key) != addr+8 {
		return false
	}
	port := uint16(el.key[addr+4])<<8 | uint16(el.key[addr+5])
	if !m.ListenPorts().Contains(port) || m.TargetOf(port) != el.target {
		return false
	}
	for _, p := range m.Protocols().Each() {
		if bytes.Equal(elementKey(m.Listen(), p, port), el.key) {
			return true
		}
	}
	return false
}

// table notes all but the mappings: what of the table is not as it should be, and what in it is of others.
func (r *reading) table(s survey) {
	if s.info.dormant {
		r.damage("the table is switched off (dormant)")
	}
	if s.info.owner != 0 {
		r.damage("another process owns the table (netlink port %d)", s.info.owner)
	}
	for _, c := range chains() {
		r.chain(c, s.chains)
	}
	for _, own := range sets() {
		r.set(own, s.sets)
	}
	r.joinTexts(s.rules)
	for _, k := range s.rules {
		if r.isForeign(k) {
			r.foreign = append(r.foreign, foreignRule(k))
		}
	}
	r.foreign = slices.Concat(r.foreign, foreignSets(s.sets), s.others)
	if len(r.foreign) > 0 {
		r.damage("%s", foreignText(r.foreign))
	}
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

// joinTexts reads the chain of texts, in which labels have their meaning.
func (r *reading) joinTexts(list []kernelRule) {
	var comments []string
	for _, k := range list {
		if k.chain == chainTexts {
			comments = append(comments, k.comment)
		}
	}
	r.texts = rules.JoinLabels(comments)
}

// isForeign reports whether a rule in one of our chains is somebody else's: its comment is none that we write. What is in a
// chain of others goes with that.
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

// compareRules compares the rules of our chains with what they should be. Those that are always there must be there in their
// order, those of mappings in any.
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

// targets notes the elements of the set of target ports. It may hold more than there are mappings: see unused.
func (r *reading) targets(list []element) {
	have := &portSet{}
	for _, el := range list {
		port, ours := targetOf(el)
		if !ours {
			r.damage("set %s has an element that no mapping explains", targetsName)
			continue
		}
		have.add(rules.Ports{First: port, Last: port})
	}
	for _, e := range r.order {
		if e.mapping.Protocols().Has(rules.TCP) && !have.hasAll(e.mapping.TargetPorts()) {
			r.damage("set %s has lost a port of %s", targetsName, e.mapping.Spec())
			return
		}
	}
}

func (r *reading) live() rules.Live {
	live := rules.Live{Mappings: make([]rules.LiveMapping, 0, len(r.order))}
	for _, e := range r.order {
		if e.seen != e.want {
			r.damage("%s has %d of its %d entries", e.mapping.Spec(), e.seen, e.want)
			continue
		}
		if e.mapping.Temporary() && r.texts[label(&e.mapping)] == "" {
			r.damage("the text of %s in chain %s is gone", e.mapping.Spec(), chainTexts)
		}
		live.Mappings = append(live.Mappings, rules.LiveMapping{Mapping: e.mapping, Connections: e.packets})
	}
	slices.SortFunc(live.Mappings, func(a, b rules.LiveMapping) int { return rules.Compare(a.Mapping, b.Mapping) })
	live.Damaged = r.damaged
	return live
}
