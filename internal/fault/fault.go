package fault

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	Kill      Kind = "KILL"       // the whole program is killed before a call of its own or of a child
	KillChild Kind = "KILL-CHILD" // a child is killed before one of its calls
	EIO       Kind = "EIO"        // the call fails with this error, and does nothing
	ENOSPC    Kind = "ENOSPC"
	EINTR     Kind = "EINTR"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Kill, KillChild, EIO, ENOSPC, EINTR} }

// errno returns the error that a call gets; 0 for the kinds that kill.
func (k Kind) errno() unix.Errno {
	return map[Kind]unix.Errno{EIO: unix.EIO, ENOSPC: unix.ENOSPC, EINTR: unix.EINTR}[k]
}

// Fault is a fault at the N-th call that it can happen to, counted from 1. The zero value stands for none.
type Fault struct {
	Kind Kind
	N    int
	At   string // counts only calls whose words, see [Result.Hit], contain it; all if empty
}

// String returns a text that Parse reads, for example "EIO@57". At stands behind it and is not read.
func (f Fault) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s@%d %s", f.Kind, f.N, f.At))
}

// Parse reads what String returns.
func Parse(text string) (Fault, error) {
	kind, number, _ := strings.Cut(text, "@")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		return Fault{}, fmt.Errorf("fault %q: not of the form EIO@57", text)
	}
	for _, k := range Kinds() {
		if string(k) == kind {
			return Fault{Kind: k, N: n}, nil
		}
	}
	return Fault{}, fmt.Errorf("fault %q: %s is none of %v", text, kind, Kinds())
}
