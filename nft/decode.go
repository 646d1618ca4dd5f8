package nft

import (
	"errors"
	"fmt"
	"slices"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// reading is what one look at the table has found so far, by the comments that name the mappings.
type reading struct {
	parser  rules.Parser
	texts   map[string]string
	entries map[string]*entry
	order   []*entry
	fixed   map[string][]*rule // the rules that are always there, by chain
	damaged string
	owner   uint32          // the process that alone may change the table; mostly 0
	foreign []foreignObject // what others put into it
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
	m, err := r.parser.Parse(text)
	if err != nil || m.String() != text || supports(&m) != nil {
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

// table notes all but the mappings: what of the table is not as it should be, and what in it is of others.
func (r *reading) table(s survey) {
	if s.info.dormant {
		r.damage("the table is switched off (dormant)")
	}
	r.owner = s.info.owner
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
}

// joinTexts reads the chain of texts, in which labels have their meaning.
func (r *reading) joinTexts(list []kernelRule) {
	var comments []string
	for _, k := range list {
		if k.chain == chainTexts {
			comments = append(comments, k.comment)
		}
	}
	r.texts = ruletext.Join(comments)
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
		target, here := e.mapping.TargetPorts()
		if here && e.mapping.Protocols().Has(rules.TCP) && !have.hasAll(target) {
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
	var refused *ForeignError
	switch err := foreignError(r.foreign); {
	case r.owner != 0:
		owned := OwnedError{r.owner}
		live.Damaged, live.Foreign = owned.Error(), owned.Remedy()
	case errors.As(err, &refused):
		live.Damaged, live.Foreign = refused.What, refused.Fix
	}
	return live
}
