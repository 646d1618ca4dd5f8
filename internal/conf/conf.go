package conf

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"portmap/rules"
)

// Text is the content of a valid file. The zero Text is an empty file. A Text does not change: its methods return
// another.
type Text struct {
	content  string
	mappings []rules.Mapping // one a line, in order, with duplicates
	lines    []line          // parallel to mappings
	set      rules.Set
	backend  string
}

// line is the position of a mapping: content[from:to], including the newline, and its line number from 1.
type line struct{ from, to, number int }

// LineError says which line is wrong.
type LineError struct {
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Reader reads files.
type Reader struct {
	Services rules.Services // for names of ports; nil for none
	Users    rules.Users    // for owners; nil leaves names as they are
	Backends []string       // the backends that a file may fix
}

// Parse reads a whole file. The error is a [*LineError] around an error of package rules about the line or about its
// conflict with another one, or it is that of the context.
func (r Reader) Parse(ctx context.Context, content []byte) (Text, error) {
	t := Text{content: string(content)}
	if err := t.read(ctx, r, func(e *LineError) error { return e }); err != nil {
		return Text{}, err
	}
	wrong, err := t.fit(ctx)
	if err == nil && len(wrong) > 0 {
		err = wrong[0]
	}
	if err != nil {
		return Text{}, err
	}
	return t, nil
}

// ParseGood reads a file and leaves out the lines that are invalid or conflict with an earlier one. It returns an error
// for each, in order; beyond a thousand it returns their number. The last result is the error of the context.
func (r Reader) ParseGood(ctx context.Context, content []byte) (Text, []*LineError, error) {
	t := Text{content: string(content)}
	var list lineErrors
	err := t.read(ctx, r, func(e *LineError) error { list.add(e); return nil })
	if err != nil {
		return Text{}, nil, err
	}
	misfits, err := t.fit(ctx)
	if err != nil {
		return Text{}, nil, err
	}
	for _, e := range misfits {
		list.add(e)
	}
	return t, list.sorted(), nil
}

// Without returns the file without the mappings for which refuse returns an error, and these errors, as
// [Reader.ParseGood] does.
func (t Text) Without(ctx context.Context, refuse func(rules.Mapping) error) (good Text, wrong []*LineError,
	err error) {
	var list lineErrors
	var refused []rules.Mapping
	good = t
	good.mappings, good.lines = nil, nil
	for i, m := range t.mappings {
		if err := canceled(ctx, i); err != nil {
			return Text{}, nil, err
		}
		if err := refuse(m); err != nil {
			list.add(&LineError{t.lines[i].number, fmt.Errorf("%s: %w", m.Spec(), err)})
			refused = append(refused, m)
		} else {
			good.mappings, good.lines = append(good.mappings, m), append(good.lines, t.lines[i])
		}
	}
	if len(refused) == 0 {
		return t, nil, nil
	}
	good.set = t.set.Remove(refused...)
	return good, list.sorted(), nil
}

// lineErrors collects errors of lines, up to maxErrors: a large file that is no file of mappings must not cost more.
type lineErrors struct {
	list []*LineError
	more int // how many are not in the list
	next int // the line of the first of them
}

const maxErrors = 1000

func (f *lineErrors) add(e *LineError) {
	if len(f.list) < maxErrors {
		f.list = append(f.list, e)
		return
	}
	if f.more == 0 || e.Line < f.next {
		f.next = e.Line
	}
	f.more++
}

func (f *lineErrors) sorted() []*LineError {
	slices.SortStableFunc(f.list, func(a, b *LineError) int { return a.Line - b.Line })
	if f.more > 0 {
		return append(f.list, &LineError{f.next, fmt.Errorf("wrong as well, %d lines more that are not shown", f.more)})
	}
	return f.list
}

// canceled returns the error of the context. It asks only at some of the steps.
func canceled(ctx context.Context, step int) error {
	const often = 1 << 10
	if step%often == 0 {
		return ctx.Err()
	}
	return nil
}

// read reads line by line. It calls onWrong for each invalid line; an error of onWrong ends it.
func (t *Text) read(ctx context.Context, r Reader, onWrong func(*LineError) error) error {
	const ordinary = 1 << 16 // allocate for at most so many lines
	lines := min(strings.Count(t.content, "\n")+1, ordinary)
	t.mappings, t.lines = make([]rules.Mapping, 0, lines), make([]line, 0, lines)
	parser := rules.Parser{Services: r.Services, Users: r.Users}
	for from, number := 0, 1; from < len(t.content); number++ {
		if err := canceled(ctx, number); err != nil {
			return err
		}
		at := line{from, len(t.content), number}
		text := t.content[from:]
		if end := strings.IndexByte(text, '\n'); end >= 0 {
			text, at.to = text[:end], from+end+1
		}
		if err := t.readLine(&parser, r.Backends, text, at); err != nil {
			if err := onWrong(&LineError{number, err}); err != nil {
				return err
			}
		}
		from = at.to
	}
	return nil
}

func (t *Text) readLine(parser *rules.Parser, backends []string, text string, at line) error {
	if len(text) > rules.MaxText {
		text = strings.TrimSuffix(text, comment(text))
	}
	text = strings.Trim(text, blanks)
	switch {
	case text == "" || text[0] == '#':
		return nil
	case len(text) > rules.MaxText:
		return &rules.InvalidError{
			Mapping: text, Why: fmt.Sprintf("a line of more than %d bytes", rules.MaxText),
			Fix: "write one mapping a line; networks of --source can stand in several mappings of the same ports",
		}
	case strings.HasPrefix(text, "backend") && words(text)[0] == "backend":
		return t.readBackend(backends, words(text))
	case len(t.mappings) == rules.MaxPorts:
		return &rules.InvalidError{Mapping: words(text)[0], Why: fmt.Sprintf("more than %d mappings", rules.MaxPorts),
			Fix: "take lines out that stand there twice"}
	}
	m, err := parser.Parse(text)
	if err != nil {
		return err
	}
	if m.Temporary() {
		return &rules.InvalidError{Mapping: m.Spec(), Part: "--temporary", Why: "a temporary mapping is never saved",
			Fix: "leave the option out, or the line"}
	}
	t.mappings, t.lines = append(t.mappings, m), append(t.lines, at)
	return nil
}

// blanks are the characters between words.
const blanks = " \t\r"

// words returns the words of a line, up to a comment.
func words(line string) []string {
	list := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(blanks, r) })
	if i := slices.IndexFunc(list, func(w string) bool { return w[0] == '#' }); i >= 0 {
		return list[:i]
	}
	return list
}

func (t *Text) readBackend(backends, words []string) error {
	wrong := func(part, why string) error {
		fix := "write one line: backend " + strings.Join(backends, ", or backend ")
		return &rules.InvalidError{Mapping: "backend", Part: part, Why: why, Fix: fix}
	}
	switch {
	case len(words) != 2:
		return wrong("", "takes one word")
	case !slices.Contains(backends, words[1]):
		return wrong(words[1], "not a backend")
	case t.backend != "" && t.backend != words[1]:
		return wrong(words[1], "another line says "+t.backend)
	}
	t.backend = words[1]
	return nil
}

// fit leaves out the mappings that conflict with earlier ones, and returns an error for each.
func (t *Text) fit(ctx context.Context) (wrong []*LineError, err error) {
	var misfits []rules.Misfit
	if t.set, misfits, err = rules.Fit(ctx, t.mappings); err != nil || len(misfits) == 0 {
		return nil, err
	}
	kept := 0
	for i, m := range t.mappings {
		if len(misfits) > 0 && misfits[0].At == i {
			wrong = append(wrong, &LineError{t.lines[i].number, misfits[0].Err})
			misfits = misfits[1:]
			continue
		}
		t.mappings[kept], t.lines[kept] = m, t.lines[i]
		kept++
	}
	t.mappings, t.lines = t.mappings[:kept], t.lines[:kept]
	return wrong, nil
}

// Set returns the mappings in the order of their lines.
func (t Text) Set() rules.Set { return t.set }

// Backend returns the backend that the file fixes; "" if no line does.
func (t Text) Backend() string { return t.backend }

// String returns the file's content.
func (t Text) String() string { return t.content }

// Backend returns the backend that a file fixes, without reading the rest of it; "" if no line does. It does not check
// the line; [Reader.Parse] does.
func Backend(content []byte) string {
	_, _, name := backendLine(content)
	return name
}

// backendLine finds the line that fixes the backend: content[from:to], including the newline; to is 0 if there is none.
func backendLine(content []byte) (from, to int, name string) {
	for to < len(content) {
		at := bytes.Index(content[to:], []byte("backend"))
		if at < 0 {
			break
		}
		at += to
		from = bytes.LastIndexByte(content[:at], '\n') + 1
		to = len(content)
		if end := bytes.IndexByte(content[at:], '\n'); end >= 0 {
			to = at + end + 1
		}
		line := bytes.Trim(content[from:to], " \t\r\n")
		if !bytes.HasPrefix(line, []byte("backend")) {
			continue
		}
		line = line[:min(len(line), rules.MaxText)] // a longer line is invalid
		if list := words(string(line)); len(list) == 2 && list[0] == "backend" {
			return from, to, list[1]
		}
	}
	return 0, 0, ""
}
