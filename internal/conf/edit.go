package conf

import (
	"bytes"
	"slices"
	"strings"

	"portmap/rules"
)

// Edit returns the content with some mappings removed and others added. A mapping is removed with its whole line. A new
// mapping that replaces others takes the place of the first of them, with the comment of that line; else it is
// appended. Every other byte stays. Replaced is parallel to add, and may be nil.
func (t Text) Edit(remove []rules.Mapping, add []rules.Mapping, replaced [][]rules.Mapping) []byte {
	gone := make(map[string]bool, len(remove))
	for _, m := range remove {
		gone[m.String()] = true
	}
	inPlaceOf := map[string][]rules.Mapping{}
	var atEnd []rules.Mapping
	for i, m := range add {
		if i < len(replaced) && len(replaced[i]) > 0 && t.set.Has(replaced[i][0]) {
			first := replaced[i][0].String()
			inPlaceOf[first] = append(inPlaceOf[first], m)
		} else {
			atEnd = append(atEnd, m)
		}
	}
	out := make([]byte, 0, len(t.content)+len(add)*64)
	copied := 0
	for i, l := range t.lines {
		text := t.mappings[i].String()
		if !gone[text] {
			continue
		}
		out = append(out, t.content[copied:l.from]...)
		out = appendLines(out, inPlaceOf[text], comment(t.content[l.from:l.to]))
		delete(inPlaceOf, text) // a duplicate line is replaced once
		copied = l.to
	}
	out = append(out, t.content[copied:]...)
	return appendLines(out, atEnd, "")
}

// SetBackend returns content with a line that fixes the backend. It replaces the present line; else it is put at the
// top, below a first paragraph of comments. An empty name changes nothing.
func SetBackend(content []byte, name string) []byte {
	if name == "" || Backend(content) == name {
		return content
	}
	line := "backend " + name + "\n"
	if from, to, _ := backendLine(content); to > 0 {
		return slices.Concat(content[:from], []byte(line), content[to:])
	}
	top, blank := 0, false
	for rest := content; len(rest) > 0; {
		text, below, more := bytes.Cut(rest, []byte("\n"))
		if text = bytes.TrimSpace(text); len(text) == 0 || text[0] != '#' || !more {
			blank = len(text) == 0
			break
		}
		top, rest = len(content)-len(below), below
		blank = len(rest) == 0
	}
	if !blank {
		top = 0 // those comments belong to the line below them
	}
	return slices.Concat(content[:top], []byte(line), content[top:])
}

// WithoutBackend returns content without the lines that fix the backend.
func WithoutBackend(content []byte) []byte {
	for {
		from, to, _ := backendLine(content)
		if to == 0 {
			return content
		}
		content = slices.Concat(content[:from], content[to:])
	}
}

// comment returns the comment after a mapping, with the white space before it; "" if there is none.
func comment(line string) string {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && isSpace(line[i-1]) {
			return strings.TrimRight(line[len(strings.TrimRight(line[:i], blanks)):], "\r\n")
		}
	}
	return ""
}

func isSpace(c byte) bool { return strings.IndexByte(blanks, c) >= 0 }

// appendLines appends mappings, one a line, the first one with the comment.
func appendLines(to []byte, mappings []rules.Mapping, comment string) []byte {
	for i := range mappings {
		if n := len(to); n > 0 && to[n-1] != '\n' {
			to = append(to, '\n')
		}
		to = append(append(append(to, mappings[i].String()...), comment...), '\n')
		comment = ""
	}
	return to
}
