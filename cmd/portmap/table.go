package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"portmap/internal/reconcile"
)

// column is one column of the table, filled from a row.
type column struct {
	title string
	right bool
	cell  func(reconcile.Row) string
}

func columns(wide bool) []column {
	all := []column{
		{title: "MAPPING", cell: func(r reconcile.Row) string { return r.Mapping.Spec() }},
		{title: "STATE", cell: stateText},
		{title: "SERVER", cell: func(r reconcile.Row) string { return serverTexts(r, serverName) }},
	}
	if wide {
		all = append(all,
			column{title: "ADDRESS", cell: func(r reconcile.Row) string {
				return serverTexts(r, func(s reconcile.Server) string { return s.Address })
			}})
	}
	all = append(all,
		column{title: "CONNECTIONS", right: true, cell: func(r reconcile.Row) string {
			if r.State == reconcile.Unknown {
				return "" // the kernel counts them
			}
			return thousands(r.Connections)
		}},
		column{title: "NAME", cell: func(r reconcile.Row) string { return r.Mapping.Name() }})
	if wide {
		all = append(all, column{title: "OPTIONS", cell: options},
			column{title: "REASON", cell: func(r reconcile.Row) string { return r.Reason }})
	}
	return all
}

// stateText returns the state, with a mark on what will not last.
func stateText(r reconcile.Row) string {
	switch mark := r.Mark(); {
	case mark == "":
		return string(r.State)
	case r.State == reconcile.Temporary:
		return mark
	default:
		return string(r.State) + ", " + mark
	}
}

func serverName(s reconcile.Server) string {
	if s.PID == 0 {
		return s.User // the process is not ours to see
	}
	return fmt.Sprintf("%s[%d] %s", s.Name(), s.PID, s.User)
}

func serverTexts(r reconcile.Row, say func(reconcile.Server) string) string {
	return joinServers(r.Servers, say)
}

// joinServers joins what is said of each server, once.
func joinServers(list []reconcile.Server, say func(reconcile.Server) string) string {
	var texts []string
	for _, s := range list {
		if text := say(s); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if len(texts) > 3 {
		texts = append(texts[:2:2], fmt.Sprintf("and %d more", len(texts)-2))
	}
	return strings.Join(texts, ", ")
}

// options returns the options but the name, which has a column of its own.
func options(r reconcile.Row) string {
	var texts []string
	for _, o := range r.Mapping.Options() {
		if o.Name != "name" {
			texts = append(texts, o.String())
		}
	}
	return strings.Join(texts, " ")
}

func (a *app) table(l reconcile.Listing, wide bool) error {
	if len(l.Rows) == 0 {
		return nil
	}
	cols := columns(wide)
	lines := [][]string{make([]string, len(cols))}
	widths := make([]int, len(cols))
	for c := range cols {
		lines[0][c] = cols[c].title
	}
	for _, row := range l.Rows {
		line := make([]string, len(cols))
		for c := range cols {
			line[c] = cols[c].cell(row)
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		for c, cell := range line {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	for i, line := range lines {
		text := a.colour(strings.TrimRight(padded(line, widths, cols), " "), i, l)
		fmt.Fprintln(a.out, text)
	}
	return nil
}

func padded(line []string, widths []int, cols []column) string {
	var b strings.Builder
	for c, cell := range line {
		space := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
		if cols[c].right {
			b.WriteString(space + cell)
		} else {
			b.WriteString(cell + space)
		}
		b.WriteString("  ")
	}
	return b.String()
}

// colour marks the lines of mappings that do not work.
func (a *app) colour(text string, line int, l reconcile.Listing) string {
	switch {
	case line == 0:
		return a.paint(bold, text)
	case l.Rows[line-1].State == reconcile.Missing, l.Rows[line-1].State == reconcile.Damaged:
		return a.paint(red, text)
	case unserved(l.Rows[line-1].State):
		return a.paint(yellow, text)
	}
	return text
}

// Codes of ECMA-48, SGR.
const (
	bold   = "1"
	red    = "31"
	yellow = "33"
)

// paint gives a line a colour, on a terminal; "" is none.
func (a *app) paint(code, text string) string {
	if code == "" || !a.tty || a.getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// unserved reports whether some clients find no server.
func unserved(s reconcile.State) bool {
	return s == reconcile.NoServer || s == reconcile.LocalOnly || s == reconcile.Partly
}
