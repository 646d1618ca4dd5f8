package ruletext

import "portmap/rules"

// Reader reads mappings from the comments of their rules. The zero Reader is ready. It is not for use by several
// goroutines at once.
type Reader struct {
	Users  rules.Users // resolves owners; nil leaves names as they are
	parser rules.Parser
}

// Mapping returns the mapping of which a text is the canonical one. An owner that there is no more is left as it is:
// what is live can be listed and removed.
func (r *Reader) Mapping(text string) (m rules.Mapping, ok bool) {
	m, err := r.parser.Parse(text)
	if err != nil || m.String() != text {
		return rules.Mapping{}, false
	}
	if r.Users != nil {
		if resolved, err := m.Resolve(r.Users); err == nil {
			m = resolved
		}
	}
	return m, true
}
