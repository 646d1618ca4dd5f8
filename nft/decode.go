package nft

import (
	"bytes"
	"fmt"
	"slices"

	"portmap/rules"
)

// reading is what one look at the table has found so far, by the comments that name the mappings.
type reading struct {
	parser  rules.Parser
	texts   map[string]string
	entries map[string]*entry
	order   []*entry
	damaged string
}

// entry is one mapping, and how much of it was seen.
type entry struct {
	mapping rules.Mapping
	want    int // elements, or rules
	seen    int
	packets uint64
	at      int // the map it belongs in
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
		e.want = len(restricted(&m))
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

// rules notes the rules of the table: those that are always there, and those of mappings.
func (r *reading) rules(list []kernelRule) {
	var comments []string
	byChain := map[string][]kernelRule{}
	for _, k := range list {
		byChain[k.chain] = append(byChain[k.chain], k)
		if k.chain == chainTexts {
			comments = append(comments, k.comment)
		}
	}
	r.texts = rules.JoinLabels(comments)
	for _, want := range skeleton() {
		have := byChain[want.chain]
		if len(have) == 0 || have[0].comment != want.comment {
			r.damage("chain %s has lost a rule", want.chain)
			return
		}
		byChain[want.chain] = have[1:]
	}
	for _, k := range byChain[chainMapped] {
		e := r.entryOf([]byte(k.comment))
		if e == nil || e.at >= 0 {
			r.damage("chain %s has a rule that no mapping explains", chainMapped)
			continue
		}
		e.seen++
		e.packets += k.packets
	}
	if len(byChain[chainPrerouting])+len(byChain[chainOutput]) > 0 {
		r.damage("a chain has a rule that no mapping explains")
	}
}

func (r *reading) live() rules.Live {
	live := rules.Live{Mappings: make([]rules.LiveMapping, 0, len(r.order))}
	for _, e := range r.order {
		if e.seen != e.want {
			r.damage("%s has %d of its %d entries", e.mapping.Spec(), e.seen, e.want)
			continue
		}
		live.Mappings = append(live.Mappings, rules.LiveMapping{Mapping: e.mapping, Connections: e.packets})
	}
	slices.SortFunc(live.Mappings, func(a, b rules.LiveMapping) int { return rules.Compare(a.Mapping, b.Mapping) })
	live.Damaged = r.damaged
	return live
}
