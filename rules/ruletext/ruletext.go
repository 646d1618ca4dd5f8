// Package ruletext writes the text of a mapping into the comments of its rules, and reads it back. So the kernel is the
// only record of what is live.
//
// The length of a comment is limited. A longer text is cut into pieces, each in a comment of its own, and a mark takes
// its place. No text of a mapping begins like a mark.
package ruletext

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Comment returns the comment for a text: the text itself, or its mark if it has more than most bytes.
func Comment(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return mark(text)
}

// mark returns a tilde and a hash of the text.
func mark(text string) string { return "~" + Hash(text) }

// Hash returns a hash of a text, 16 hexadecimal digits: for names that belong to one mapping.
func Hash(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return fmt.Sprintf("%016x", h.Sum64())
}

// Pieces returns the comments, of at most most bytes each, that together hold a text. It returns none if the text fits
// into one comment. [Join] joins pieces again.
func Pieces(text string, most int) []string {
	if len(text) <= most {
		return nil
	}
	size := most - len("~0123456789abcdef 9999/9999 ")
	count := (len(text) + size - 1) / size
	pieces := make([]string, 0, count)
	for i := range count {
		piece := text[i*size : min((i+1)*size, len(text))]
		pieces = append(pieces, fmt.Sprintf("%s %d/%d %s", mark(text), i+1, count, piece))
	}
	return pieces
}

// Join returns the texts that comments hold. The key is the mark of a text that was cut, and else the text itself. A
// text is left out if one of its pieces is missing or changed.
func Join(comments []string) map[string]string {
	texts := map[string]string{}
	pieces := map[string][]string{}
	for _, c := range comments {
		if !strings.HasPrefix(c, "~") {
			texts[c] = c
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
			texts[m] = text
		}
	}
	return texts
}
