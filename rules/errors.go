package rules

import (
	"fmt"
	"strings"
	"unicode"
)

// InvalidError tells what is wrong with a mapping as it was written.
type InvalidError struct {
	Mapping string // as it was written; empty where there is none yet
	Part    string // the part that is wrong; empty where it is the whole
	Why     string // one phrase
	Fix     string // what would be right; may be empty
}

func (e *InvalidError) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range [...]string{e.Mapping, e.Part} {
		if p != "" && (len(parts) == 0 || parts[0] != p) {
			parts = append(parts, Printable(p))
		}
	}
	return strings.Join(append(parts, e.Why), ": ")
}

// Remedy returns what to write instead.
func (e *InvalidError) Remedy() string { return e.Fix }

// UnsupportedError names an option that a backend does not support.
type UnsupportedError struct{ Part string }

func (e *UnsupportedError) Error() string { return e.Part + ": not supported by this version" }

// Printable returns s for one line of a terminal: escaped as in Go, and cut.
func Printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd || r > 0x7f && !unicode.IsPrint(r) {
			return fmt.Sprintf("%+q", s)
		}
	}
	return s
}
