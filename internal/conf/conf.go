package conf

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"portmap/rules"
)

// Text is a file that was read without error. The zero Text is an empty file. It does not change: its methods return
// another.
type Text struct {
	content  string
	mappings []rules.Mapping // one a line, in order, also those that are there twice
	lines    []line          // parallel to mappings
	set      rules.Set
	backend  string
}

// line is where a mapping stands: content[from:to], the line's end included.
type line struct{ from, to int }

// LineError tells which line is wrong.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Parse reads a whole file. The error is a [*LineError] around what package rules says about that line, alone or beside an
// earlier one.
func Parse(content []byte, services rules.Services) (Text, error) {
	t := Text{content: string(content)}
	if err := t.read(services, func(e *LineError) error { return e }); err != nil {
		return Text{}, err
	}
	if err := t.check(); err != nil {
		return Text{}, err
	}
	return t, nil
}

// ParseGood reads a file and leaves out the lines that are wrong, alone or beside another one. It returns what is wrong with
// each, in order.
func ParseGood(content []byte, services rules.Services) (Text, []*LineError) {
	t := Text{content: string(content)}
	var wrong []*LineError
	_ = t.read(services, func(e *LineError) error { wrong = append(wrong, e); return nil }) // which never fails
	for range len(t.mappings) {
		at, err := t.misfit()
		if err == nil || at < 0 {
			break
		}
		wrong = append(wrong, &LineError{t.number(at), err})
		t.mappings, t.lines = slices.Delete(t.mappings, at, at+1), slices.Delete(t.lines, at, at+1)
	}
	slices.SortFunc(wrong, func(a, b *LineError) int { return a.Line - b.Line })
	return t, wrong
}

// Without returns the file without the mappings that refuse objects to, and what is wrong with the line of each, in order.
func (t Text) Without(refuse func(rules.Mapping) error) (good Text, wrong []*LineError) {
	good = t
	for i, m := range t.mappings {
		if err := refuse(m); err != nil {
			wrong = append(wrong, &LineError{t.number(i), fmt.Errorf("%s: %w", m.Spec(), err)})
			good.set = good.set.Remove(m)
		}
	}
	if len(wrong) > 0 {
		good.mappings, good.lines = nil, nil
		for i, m := range t.mappings {
			if good.set.Has(m) {
				good.mappings, good.lines = append(good.mappings, m), append(good.lines, t.lines[i])
			}
		}
	}
	return good, wrong
}

// number returns the line of a mapping, counted from 1.
func (t *Text) number(at int) int { return 1 + strings.Count(t.content[:t.lines[at].from], "\n") }

// read reads line by line. An error of onWrong, which is told of each line that means nothing, ends it.
func (t *Text) read(services rules.Services, onWrong func(*LineError) error) error {
	most := strings.Count(t.content, "\n") + 1
	t.mappings, t.lines = make([]rules.Mapping, 0, most), make([]line, 0, most)
	parser := rules.Parser{Services: services}
	var words []string
	for from, number := 0, 1; from < len(t.content); number++ {
		to, next := len(t.content), len(t.content)
		if end := strings.IndexByte(t.content[from:], '\n'); end >= 0 {
			to, next = from+end, from+end+1
		}
		words = rules.AppendWords(words[:0], t.content[from:to])
		if err := t.readLine(&parser, words, from, next); err != nil {
			if err := onWrong(&LineError{number, err}); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

func (t *Text) readLine(parser *rules.Parser, words []string, from, to int) error {
	switch {
	case len(words) == 0:
		return nil
	case words[0] == "backend":
		return t.readBackend(words)
	}
	m, err := parser.Parse(words)
	if err != nil {
		return err
	}
	if m.Temporary() {
		return &rules.InvalidError{Mapping: m.Spec(), Part: "--temporary", Why: "a temporary mapping is never saved", Fix: "leave the option out, or the line"}
	}
	t.mappings, t.lines = append(t.mappings, m), append(t.lines, line{from, to})
	return nil
}

func (t *Text) readBackend(words []string) error {
	wrong := func(part, why string) error {
		return &rules.InvalidError{Mapping: "backend", Part: part, Why: why, Fix: "write one line: backend nft, or backend iptables"}
	}
	switch {
	case len(words) != 2:
		return wrong("", "takes one word")
	case words[1] != "nft" && words[1] != "iptables":
		return wrong(words[1], "not a backend")
	case t.backend != "" && t.backend != words[1]:
		return wrong(words[1], "another line says "+t.backend)
	}
	t.backend = words[1]
	return nil
}

// check puts the mappings beside each other, and names the line of the one that does not fit.
func (t *Text) check() error {
	at, err := t.misfit()
	if err != nil && at >= 0 {
		return &LineError{t.number(at), err}
	}
	return err
}

// misfit finds a mapping that does not go with the others; -1 where the error is about none.
func (t *Text) misfit() (at int, err error) {
	if t.set, err = rules.NewSet(t.mappings...); err == nil {
		return -1, nil
	}
	culprit, ok := rules.Culprit(err)
	return slices.IndexFunc(t.mappings, func(m rules.Mapping) bool { return ok && m.Equal(culprit) }), err
}

// Set returns the mappings in the order of their lines.
func (t Text) Set() rules.Set { return t.set }

// Backend returns "nft", "iptables", or "" where no line fixes it.
func (t Text) Backend() string { return t.backend }

// String returns the file's content.
func (t Text) String() string { return t.content }

// Backend returns what a file fixes as the backend, without reading the rest of it; "" where no line does. What is wrong
// with such a line, [Parse] says.
func Backend(content []byte) string {
	for {
		at := bytes.Index(content, []byte("backend"))
		if at < 0 {
			return ""
		}
		from := bytes.LastIndexByte(content[:at], '\n') + 1
		to := len(content)
		if end := bytes.IndexByte(content[at:], '\n'); end >= 0 {
			to = at + end
		}
		if words := rules.Words(string(content[from:to])); len(words) == 2 && words[0] == "backend" {
			return words[1]
		}
		content = content[to:]
	}
}
