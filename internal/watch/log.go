package watch

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"portmap/internal/reconcile"
	"portmap/rules"
)

// Log writes lines for a person or for the journal. A state that lasts is reported once.
type Log struct {
	Out     io.Writer
	Journal bool // begin lines with their priority (sd-daemon(3))
	Quiet   bool // only warnings

	// Explain returns an error as a sentence, and what to do about it; the remedy may be empty.
	Explain func(error) (text, remedy string)

	wrong   string // the last error reported about the file
	trouble string // the last error reported of a check
}

// Priorities of syslog(3).
const (
	warning = 4
	notice  = 5
)

func (l *Log) print(priority int, format string, args ...any) {
	if l.Quiet && priority > warning {
		return
	}
	line := "portmap: " + fmt.Sprintf(format, args...) + "\n"
	if l.Journal {
		line = fmt.Sprintf("<%d>%s", priority, line)
	}
	_, _ = io.WriteString(l.Out, line)
}

func (l *Log) complain(err error) {
	text, remedy := l.Explain(err)
	l.print(warning, "%s", text)
	switch {
	case remedy == "":
	case l.Journal:
		fmt.Fprintf(l.Out, "<%d>  %s\n", warning, remedy)
	default:
		fmt.Fprintf(l.Out, "  %s\n", remedy)
	}
}

func (l *Log) watching(mappings int) {
	noun := "mappings"
	if mappings == 1 {
		noun = "mapping"
	}
	l.print(notice, "watching %d %s", mappings, noun)
}

// repaired reports what a check did. By are the names of the programs that changed rules before it.
func (l *Log) repaired(r Repaired, by []string) {
	if l.trouble != "" {
		l.print(notice, "watch: it works again")
		l.trouble = ""
	}
	l.file(r.Wrong, r.Partly)
	switch {
	case !r.Changed():
	case r.Edited && r.Wrong == nil:
		l.print(notice, "the file was edited: %s", strings.Join(parts(r, "added ", "removed "), ", "))
	default:
		l.print(notice, "%s%s", strings.Join(parts(r, "put back ", "took out "), ", "), after(by))
	}
	for _, w := range r.Warnings {
		l.print(warning, "%s", w.Line())
	}
}

// file reports once that the file is invalid, and what is live instead, and once that it is valid again.
func (l *Log) file(wrong error, partly bool) {
	before := l.wrong
	l.wrong = ""
	if wrong != nil {
		l.wrong = wrong.Error()
	}
	switch {
	case l.wrong == before:
	case wrong == nil:
		l.print(notice, "the file is right again")
	case partly && errors.As(wrong, new(*reconcile.EmptyError)):
		l.complain(wrong)
		l.print(warning, "what is live stays, but is not put back if others flush it: the file does not have it")
	case partly:
		l.complain(wrong)
		l.print(warning,
			"lines that are wrong are left out: `sudo portmap apply --dry-run --keep-going` shows them all")
	default:
		l.complain(wrong)
		l.print(warning, "what the file said before stays live")
	}
}

// failed reports once that a check failed.
func (l *Log) failed(err error) {
	if text := err.Error(); l.trouble != text {
		l.trouble = text
		l.complain(err)
	}
}

// forget makes everything that still holds be reported again.
func (l *Log) forget() { l.wrong, l.trouble = "", "" }

func (l *Log) fight(times int, pause time.Duration, by []string) {
	l.print(warning,
		"put back %d times, and still something takes the rules away%s: now at most once in %s, and less often while "+
			"that lasts", times, after(by), pause)
}

func parts(r Repaired, added, removed string) (list []string) {
	if len(r.Removed) > 0 {
		list = append(list, removed+join(r.Removed))
	}
	if len(r.Added) > 0 {
		list = append(list, added+join(r.Added))
	}
	if r.Damage != "" {
		list = append(list, "made the rules anew ("+r.Damage+")")
	}
	return list
}

func after(by []string) string {
	if len(by) == 0 {
		return ""
	}
	names := make([]string, 0, len(by))
	for _, name := range by {
		names = append(names, rules.Printable(name))
	}
	return " after a change by " + strings.Join(names, ", ")
}

func join(mappings []rules.Mapping) string {
	const most = 5
	var b strings.Builder
	for i := range mappings {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(mappings)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(mappings[i].String())
	}
	return b.String()
}
