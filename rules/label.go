package rules

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// A backend writes each mapping's text into the comments of its rules, so that the kernel alone tells what is live. Comments
// are short, and few texts are not: those are cut into pieces, which stand in comments of their own, and a mark stands in
// their place.

// Label returns the comment of a mapping's rules: its text, or a mark where that has more than most bytes. No text begins
// like a mark.
func (m Mapping) Label(most int) string {
	if len(m.text) <= most {
		return m.text
	}
	return mark(m.text)
}

// mark is a hash of a text behind a tilde.
func mark(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return fmt.Sprintf("~%016x", h.Sum64())
}

// Pieces returns the comments, of at most most bytes, that together hold a text for which a mark stands; none where the
// label is the text itself. [JoinLabels] puts them together again.
func (m Mapping) Pieces(most int) []string {
	if len(m.text) <= most {
		return nil
	}
	size := most - len("~0123456789abcdef 9999/9999 ")
	count := (len(m.text) + size - 1) / size
	pieces := make([]string, 0, count)
	for i := range count {
		piece := m.text[i*size : min((i+1)*size, len(m.text))]
		pieces = append(pieces, fmt.Sprintf("%s %d/%d %s", mark(m.text), i+1, count, piece))
	}
	return pieces
}

// JoinLabels reads comments and returns the texts in them: under its mark each one that was cut, and under itself each that
// was whole. A mark whose pieces are not all there, or not its own, is left out.
func JoinLabels(comments []string) map[string]string {
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
