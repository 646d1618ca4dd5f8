package nft

import (
	"iter"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// supported refuses what this backend cannot put into the kernel.
func supported(m *rules.Mapping) error { return m.Within() }

func allSupported(mappings []rules.Mapping) error {
	for i := range mappings {
		if err := supported(&mappings[i]); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many objects a mapping has in the place. The buffer is used again and again.
func (p *place) count(m *rules.Mapping, buffer *[]keyRange) (n int) {
	if p.rules != nil {
		return len(p.rules(m))
	}
	if p.elements != nil {
		*buffer = p.elements((*buffer)[:0], m)
		for _, r := range *buffer {
			n += r.ports.Count()
		}
	}
	return n
}

// rulesOf returns the rules of mappings in a chain.
func (p *place) rulesOf(mappings []rules.Mapping) []*rule {
	if p.rules == nil {
		return nil
	}
	var list []*rule
	for i := range mappings {
		list = append(list, p.rules(&mappings[i])...)
	}
	return list
}

// elementsOf returns the elements of mappings in a map or set. Each is made only when it is sent: there can be very
// many.
func (p *place) elementsOf(mappings []rules.Mapping) iter.Seq[nftables.SetElement] {
	if p.shared {
		return p.sharedKeys(mappings).elements()
	}
	return func(yield func(nftables.SetElement) bool) {
		var ranges []keyRange
		for i := range mappings {
			m := &mappings[i]
			ranges = p.elements(ranges[:0], m)
			for _, r := range ranges {
				if !p.eachElement(r, label(m), yield) {
					return
				}
			}
		}
	}
}

func (p *place) eachElement(r keyRange, label string, yield func(nftables.SetElement) bool) bool {
	for i := range r.ports.Count() {
		e := nftables.SetElement{Key: p.key.append(make([]byte, 0, maxKey), &r, i)}
		if p.kind == isMap {
			e.Val, e.Comment = r.data(i), label
			if p.verdicts {
				e.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: r.chain}
			}
		}
		if !yield(e) {
			return false
		}
	}
	return true
}

// sharedKeys returns what mappings have in a set, each key once.
func (p *place) sharedKeys(mappings []rules.Mapping) keySet {
	keys := newKeySet(p.key)
	p.eachRange(mappings, keys.add)
	return keys
}

func (p *place) eachRange(mappings []rules.Mapping, do func(keyRange)) {
	var ranges []keyRange
	for i := range mappings {
		ranges = p.elements(ranges[:0], &mappings[i])
		for _, r := range ranges {
			do(r)
		}
	}
}

// elements returns the keys as elements of a set.
func (s keySet) elements() iter.Seq[nftables.SetElement] {
	return func(yield func(nftables.SetElement) bool) {
		s.each(func(key []byte) bool { return yield(nftables.SetElement{Key: key}) })
	}
}
