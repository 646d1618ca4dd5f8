package nft

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"portmap/rules"
)

// maxComment is the longest comment that nft loads back (nftables, include/rule.h, NFTNL_UDATA_COMMENT_MAXLEN), in bytes.
const maxComment = 128

// label is the comment of a mapping's elements and rules: its text, or a mark that stands for a text too long for that.
func label(m *rules.Mapping) string {
	text := m.String()
	if len(text) <= maxComment {
		return text
	}
	return mark(text)
}

// mark is a hash of a text behind a tilde, which no mapping begins with.
func mark(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return fmt.Sprintf("~%016x", h.Sum64())
}

// texts returns the rules of the chain `texts` for a mapping: the text itself where it is temporary, so that all of these
// are found without listing the maps, and its pieces where it is too long for a comment.
func texts(m *rules.Mapping) []*rule {
	text := m.String()
	if len(text) <= maxComment {
		if !m.Temporary() {
			return nil
		}
		return []*rule{note(text)}
	}
	const size = maxComment - len("~0123456789abcdef 9999/9999 ")
	pieces := (len(text) + size - 1) / size
	list := make([]*rule, 0, pieces)
	for i := range pieces {
		piece := text[i*size : min((i+1)*size, len(text))]
		list = append(list, note(fmt.Sprintf("%s %d/%d %s", mark(text), i+1, pieces, piece)))
	}
	return list
}

func note(comment string) *rule {
	r := &rule{chain: chainTexts, comment: comment}
	return r.nothing()
}

// joinTexts puts the pieces together again: texts by their mark, and by themselves those that were whole. A mark whose
// pieces are not all there, or not its own, is left out.
func joinTexts(comments []string) map[string]string {
	whole := map[string]string{}
	pieces := map[string][]string{}
	for _, c := range comments {
		if !strings.HasPrefix(c, "~") {
			whole[c] = c
			continue
		}
		parts := strings.SplitN(c, " ", 3)
		if len(parts) < 3 {
			continue
		}
		at, of, _ := strings.Cut(parts[1], "/")
		i, _ := strconv.Atoi(at)
		n, _ := strconv.Atoi(of)
		if i < 1 || i > n || n > 9999 {
			continue
		}
		if pieces[parts[0]] == nil {
			pieces[parts[0]] = make([]string, n)
		}
		if i <= len(pieces[parts[0]]) {
			pieces[parts[0]][i-1] = parts[2]
		}
	}
	for m, p := range pieces {
		if text := strings.Join(p, ""); mark(text) == m {
			whole[m] = text
		}
	}
	return whole
}
