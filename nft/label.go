package nft

import (
	"portmap/rules"
	"portmap/rules/ruletext"
)

// maxComment is the longest comment that nft loads back (nftables, include/rule.h, NFTNL_UDATA_COMMENT_MAXLEN),
// in bytes.
const maxComment = 128

// label is the comment of a mapping's elements and rules.
func label(m *rules.Mapping) string { return ruletext.Comment(m.String(), maxComment) }

// texts returns the rules of the chain `texts` for a mapping: the text itself where it is temporary, so that
// all of these are found without listing the maps, and its pieces where it is too long for a comment.
func texts(m *rules.Mapping) []*rule {
	pieces := ruletext.Pieces(m.String(), maxComment)
	if len(pieces) == 0 && m.Temporary() {
		return []*rule{note(m.String())}
	}
	var list []*rule
	for _, piece := range pieces {
		list = append(list, note(piece))
	}
	return list
}

func note(comment string) *rule {
	return newRule(chainTexts, comment).continueVerdict()
}
