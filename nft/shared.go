package nft

import "portmap/rules"

// listAtMost is how many mappings may be live for a removal to read them.
const listAtMost = 1000

// unused returns, by place, the elements of shared sets that no mapping has after the change. An element that may
// linger does little harm, so if many mappings are live they are not read to find out.
func (k *kernel) unused(change rules.Change) (map[string]keySet, error) {
	unused := map[string]keySet{}
	var others []rules.Mapping // that are live, and that the caller does not know of
	read := false
	for _, p := range sets() {
		if !p.shared || p.lingers != nil && len(change.Before) > listAtMost {
			continue
		}
		keys := p.sharedKeys(change.Remove)
		p.eachRange(change.Add, keys.remove)
		p.eachRange(rules.Minus(change.Before, change.Remove), keys.remove)
		if keys.empty() {
			continue
		}
		if !read {
			var err error
			if others, err = k.unknown(change); err != nil {
				return nil, err
			}
			read = true
		}
		p.eachRange(others, keys.remove)
		unused[p.name] = keys
	}
	return unused, nil
}

// unknown reads the live mappings that are neither in Before nor among those to remove.
func (k *kernel) unknown(change rules.Change) ([]rules.Mapping, error) {
	found := labels{}
	for _, p := range maps() {
		note := func(encoded []byte) { found.note(decodeElement(encoded).comment) }
		if err := k.elements(p.name, func() {}, note); err != nil {
			return nil, err
		}
	}
	list, err := k.rules(chainMapped)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		found.note([]byte(r.comment))
	}
	found.forget(change.Before)
	found.forget(change.Remove)
	return k.mappingsOf(found)
}
