package ipt

import (
	"strings"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// What is ours is decided by what it says, not by its name: a chain of others can be called PORTMAP, and its rules can
// have comments of any kind.

// labels are the comments that were read, and the mappings that they are the texts of.
type labels struct {
	reader ruletext.Reader
	known  map[string]rules.Mapping // the zero Mapping for a comment that is not one's text
}

func newLabels(users rules.Users) *labels {
	return &labels{reader: ruletext.Reader{Users: users}, known: map[string]rules.Mapping{}}
}

// mapping returns the mapping of which a comment is the canonical text.
func (l *labels) mapping(comment string) (rules.Mapping, bool) {
	m, read := l.known[comment]
	if !read {
		m, _ = l.reader.Mapping(comment)
		l.known[comment] = m
	}
	return m, !m.IsZero()
}

// label reports whether portmap could have given a comment to the rules of a mapping.
func (l *labels) label(comment string) bool {
	if hash, long := strings.CutPrefix(comment, "~"); long {
		return len(hash) == 16 && isHex(hash)
	}
	_, ok := l.mapping(comment)
	return ok
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// note reports whether portmap could have put a comment into the chain with notes: a piece of a long text, or a
// temporary mapping.
func (l *labels) note(comment string) bool {
	if strings.HasPrefix(comment, "~") {
		hash, _, isPiece := strings.Cut(comment, " ")
		return isPiece && l.label(hash)
	}
	m, ok := l.mapping(comment)
	return ok && m.Temporary()
}

// dropComment is the comment of the rules that drop or masquerade: each can be for several mappings.
const dropComment = "portmap"

// ours reports whether a rule has a form in which portmap puts rules into this chain. One that has the form and not the
// content, as another port for a mapping, is one of ours that somebody changed.
func (l *labels) ours(in chainID, r *rule) bool {
	switch {
	case r.foreign != "":
		return false
	case in == textID:
		return *r == rule{comment: r.comment} && l.note(r.comment)
	case in == chainID{mangle, invalidChain}:
		return r.to != anywhere && (*r == rule{to: r.to, verdict: goTo, chain: listenChain} ||
			*r == rule{to: r.to, verdict: jump, chain: serverChain})
	case in == refuseID:
		return *r == rule{protocol: tcp, verdict: reset} ||
			*r == rule{when: r.when, verdict: r.verdict} && (r.verdict == unreachable || r.verdict == unreachable6)
	case r.invalid || r.translated || r.outside || r.to != anywhere || r.when != always:
		return false
	case r.owned:
		return in.isOwners() && r.verdict == drop && r.original.Last != 0 && r.ports.Last != 0 && l.label(r.comment)
	}
	inner := chainID{in.table, r.chain}
	switch r.verdict {
	case goTo:
		return r.comment == "" && inner.own() && inner != refuseID || r.comment == dropComment && inner == refuseID
	case jump:
		return inner.own() && strings.HasPrefix(r.chain, sourcesOf) && l.labelIn(in.table, r.comment)
	case drop:
		return in.table == mangle && l.labelIn(mangle, r.comment)
	case masquerade:
		return in.table == nat && !r.reply && r.comment == dropComment && r.original.Last != 0 && r.ports.Last != 0
	case toPort:
		return in.table == nat && !r.reply && r.protocol != 0 && r.ports.Last == r.ports.First && r.ports.Last != 0 &&
			r.port != 0 &&
			l.label(r.comment)
	case note, reset, unreachable, unreachable6:
	}
	return false
}

func (l *labels) labelIn(t table, comment string) bool {
	if t == mangle {
		return comment == dropComment
	}
	return l.label(comment)
}
