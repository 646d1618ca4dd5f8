package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"portmap/rules"
	"portmap/rules/facts"
	"portmap/rules/ruletext"
)

// reading is what one look at the table has found so far. Comments name the mappings.
type reading struct {
	reader  ruletext.Reader
	places  []place
	texts   map[string]string  // of labels and notes, see [rules.JoinLabels]
	entries map[string]*entry  // by comment; nil for one that is not a mapping's
	order   []*entry           // as found
	seen    [][]int            // by place: how many objects each entry has there
	fixed   map[string][]*rule // the rules that are there without any mapping, by chain
	sets    map[string]setContent
	damaged string
	owner   uint32          // the process that alone may change the table; mostly 0
	chains  []string        // those of single mappings
	foreign []foreignObject // what others put into it

	only map[string]bool // the mappings whose elements are looked up; nil if all elements are read
}

func newReading(users rules.Users) *reading {
	r := &reading{
		reader: ruletext.Reader{Users: users}, places: places(), entries: map[string]*entry{}, fixed: fixedRules(),
		sets: map[string]setContent{},
	}
	r.seen = make([][]int, len(r.places))
	for i := range r.places {
		if p := &r.places[i]; p.kind < isChain {
			r.sets[p.name] = setContent{name: p.name, keyLen: p.key.datatype().Bytes, isMap: p.kind == isMap,
				dataLen: dataType(p.data).Bytes}
		}
	}
	return r
}

// entry is a mapping of which something was seen.
type entry struct {
	number  int // in reading.order
	mapping rules.Mapping
	packets uint64
	rules   map[string]int // its rules that were not seen yet, by chain and normal form; nil before the first was
}

func (r *reading) damage(format string, args ...any) {
	if r.damaged == "" {
		r.damaged = fmt.Sprintf(format, args...)
	}
}

// entryOf finds the mapping that a comment names; nil if the comment is not a mapping's.
func (r *reading) entryOf(comment []byte) *entry {
	if e, known := r.entries[string(comment)]; known {
		return e
	}
	text := string(comment)
	if len(comment) > 0 && comment[0] == '~' {
		text = r.texts[text]
	}
	m, ok := r.reader.Mapping(text)
	if !ok || supported(&m) != nil {
		r.entries[string(comment)] = nil
		return nil
	}
	e := &entry{number: len(r.order), mapping: m}
	r.entries[string(comment)] = e
	r.order = append(r.order, e)
	return e
}

// about reports whether the reading is about a mapping. Those that are in rules are seen in any case.
func (r *reading) about(e *entry) bool { return r.only == nil || r.only[e.mapping.String()] }

// see counts an object of a mapping.
func (r *reading) see(place int, e *entry) {
	for len(r.seen[place]) <= e.number {
		r.seen[place] = append(r.seen[place], 0)
	}
	r.seen[place][e.number]++
}

// joinTexts reads the chain of texts, which say what labels mean.
func (r *reading) joinTexts(list []kernelRule) {
	var comments []string
	for _, k := range list {
		if k.chain == chainTexts {
			comments = append(comments, k.comment)
		}
	}
	r.texts = ruletext.Join(comments)
}

// labelOf returns the label of the mapping to which the comment of a rule belongs. A piece of a text begins with it.
func labelOf(comment string) string {
	if strings.HasPrefix(comment, "~") {
		comment, _, _ = strings.Cut(comment, " ")
	}
	return comment
}

// mappingRule counts a rule of a mapping.
func (r *reading) mappingRule(k kernelRule, form string) {
	e := r.entryOf([]byte(labelOf(k.comment)))
	if e == nil {
		r.damage("the text of %s in chain %s is gone", labelOf(k.comment), chainTexts)
		return
	}
	if e.rules == nil {
		e.rules = r.formsOf(&e.mapping)
	}
	at := slices.IndexFunc(r.places, func(p place) bool { return p.name == chainKind(k.chain) })
	if e.rules[k.chain+" "+form] == 0 {
		r.damage("a rule of %s in chain %s is changed, or there twice", e.mapping.Spec(), k.chain)
		return
	}
	e.rules[k.chain+" "+form]--
	e.packets += k.packets
	r.see(at, e)
}

// formsOf returns how many rules of each normal form a mapping has in each chain.
func (r *reading) formsOf(m *rules.Mapping) map[string]int {
	forms := map[string]int{}
	for i := range r.places {
		if p := &r.places[i]; p.rules != nil {
			for _, own := range p.rules(m) {
				forms[own.chain+" "+own.normalForm(r.sets)]++
			}
		}
	}
	return forms
}

// elements reads the elements of a map: their comments name the mappings.
func (r *reading) elements(place int, list []element) {
	p := &r.places[place]
	var ranges []keyRange
	for _, el := range list {
		e := r.entryOf(el.comment)
		if e != nil {
			ranges = p.elements(ranges[:0], &e.mapping)
		}
		if e == nil || !slices.ContainsFunc(ranges, func(k keyRange) bool { return p.key.explains(&k, el) }) {
			r.damage("map %s has an element that no mapping explains", p.name)
			continue
		}
		e.packets += el.packets
		r.see(place, e)
	}
}

// keys reads the elements of a set. They name no mapping, so all mappings must be known by now.
func (r *reading) keys(place int, list []element) {
	p := &r.places[place]
	at := make(map[string]int, len(list))
	for i, el := range list {
		at[string(el.key)] = i
	}
	explained := make([]bool, len(list))
	var ranges []keyRange
	var key []byte
	for _, e := range r.order {
		ranges = p.elements(ranges[:0], &e.mapping)
		for _, k := range ranges {
			for i := range k.ports.Count() {
				key = p.key.append(key[:0], &k, i)
				if i, there := at[string(key)]; there {
					explained[i] = true
					r.see(place, e)
				}
			}
		}
	}
	if r.only != nil && p.shared { // it can be a mapping's that was not looked up
		return
	}
	for i, el := range list {
		if !explained[i] && (p.lingers == nil || !p.lingers(el)) {
			r.damage("set %s has an element that no mapping explains", p.name)
			return
		}
	}
}

// ownChains finds chains of single mappings that none of those that were seen has.
func (r *reading) ownChains() {
	if r.only != nil {
		return
	}
	known := map[string]bool{}
	for _, e := range r.order {
		known[spreadChain(&e.mapping)] = isSpread(&e.mapping)
	}
	for _, name := range r.chains {
		if !known[name] {
			r.damage("chain %s belongs to no mapping", name)
		}
	}
}

// live counts what each mapping has in each place against what it should have there. A mapping is live if what carries
// its label is whole: of one that lacks only a key in a set, or its note, the connections are still translated.
func (r *reading) live() rules.Live {
	live := rules.Live{Mappings: make([]rules.LiveMapping, 0, len(r.order))}
	var buffer []keyRange
	for _, e := range r.order {
		if !r.about(e) {
			continue
		}
		whole := true
		for i := range r.places {
			p, have := &r.places[i], 0
			if e.number < len(r.seen[i]) {
				have = r.seen[i][e.number]
			}
			if want := p.count(&e.mapping, &buffer); have != want {
				r.damage("%s has %d of its %d %s in %s %s", e.mapping.Spec(), have, want, p.kind.objects(), p.kind,
					p.name)
				whole = whole && (p.kind == isSet || p.name == chainTexts)
			}
		}
		if whole {
			live.Mappings = append(live.Mappings, rules.LiveMapping{Mapping: e.mapping, Connections: e.packets})
		}
	}
	r.ownChains()
	slices.SortFunc(live.Mappings, func(a, b rules.LiveMapping) int { return facts.Compare(a.Mapping, b.Mapping) })
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
