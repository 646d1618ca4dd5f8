package rules

import (
	"fmt"
	"strings"
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

// UnsupportedError names a part of the language that is read and kept, but that this version cannot put into the kernel.
type UnsupportedError struct{ Part string }

func (e *UnsupportedError) Error() string { return e.Part + ": not supported by this version" }

// ConflictError says that a mapping cannot stand beside one that is there.
type ConflictError struct {
	Mapping Mapping // the new one
	With    Mapping // the one in the way
	Over    string  // what both claim: "443/tcp", or a name
	Name    bool    // it is a name
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: %s is already taken by %s", e.Mapping, e.Over, e.With)
}

// LoopError says that mappings lead a port back to itself.
type LoopError struct{ Path []Mapping }

func (e *LoopError) Error() string {
	way := make([]string, 0, len(e.Path))
	for _, m := range e.Path {
		way = append(way, m.Spec())
	}
	if len(way) > 4 {
		way = append(way[:2:2], fmt.Sprintf("%d more", len(way)-3), way[len(way)-1])
	}
	return fmt.Sprintf("%s: leads back to itself through %s", e.Path[0].Spec(), strings.Join(way[1:], ", "))
}

// Printable returns s as it can be shown on one line of a terminal: whatever is not printable is escaped as in Go, and
// a text without end is cut.
func Printable(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "..."
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd || r > 0x7f && !isPrint(r) {
			return fmt.Sprintf("%+q", s)
		}
	}
	return s
}
