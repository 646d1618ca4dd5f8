// Package ruletext writes the text of a mapping into the comments of its rules, and reads it from there, so that the
// kernel alone tells what is live.
//
// A comment is short, and some texts are long. A long text is cut into pieces, which have comments of their own, and a
// mark stands in its place. No text of a mapping begins like a mark.
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

// mark is a hash of a text behind a tilde.
func mark(text string) string {
	h := fnv.New64a()
	h.Write([]byte(text))
	return fmt.Sprintf("~%016x", h.Sum64())
}

// Pieces returns the comments, of at most most bytes each, that together hold a text for which a mark stands. It
// returns none if the comment is the text itself. [Join] puts pieces together again.
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

// Join returns the texts that comments hold: each text that was cut by its mark, and each whole one by itself. It
// leaves out a mark of which a piece is missing or changed.
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
