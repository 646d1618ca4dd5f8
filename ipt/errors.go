package ipt

import (
	"errors"
	"fmt"
	"strings"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Error is why iptables did not do what it was asked to.
type Error struct {
	Command string // what was run, without its folder; empty where nothing was
	Why     string // one phrase
	Fix     string // what to type; may be empty
	cause   error

	unavailable bool // the host or the kernel has no such variant
}

func (e *Error) Error() string {
	if e.Command == "" {
		return e.Why
	}
	return e.Command + ": " + e.Why
}

// Unwrap returns [unix.EPERM] where a permission is missing, and [rules.ErrDrift] where a rule that was to be changed
// is not there.
func (e *Error) Unwrap() error { return e.cause }

// Remedy returns what to type.
func (e *Error) Remedy() string { return e.Fix }

// complaint is what iptables says of a failure, in one of its versions, and what that means.
type complaint struct {
	says     []string // any of them
	why, fix string
	cause    error

	unavailable bool
}

// complaints are tried in this order. What iptables says is in its sources: iptables/xshared.c (xtables_lock),
// libiptc/libiptc.c (iptcc_strerror), iptables/nft.c (nft_strerror, nft_init), iptables/xtables-standalone.c.
func complaints() []complaint {
	return []complaint{
		{says: []string{"holding the xtables lock"}, why: "another program holds the xtables lock",
			fix: "`sudo fuser -v /run/xtables.lock` shows which; when it is done, do it again"},
		{says: []string{"you must be root", "Permission denied", "Operation not permitted"}, why: "not permitted",
			cause: unix.EPERM},
		{says: []string{"nft: Address family not supported", "Protocol not supported",
			"rule set generation id: Invalid argument"},
			why: "this kernel has no nf_tables, which this iptables works through",
			fix: "sudo modprobe nf_tables, or install iptables-legacy", unavailable: true},
		{says: []string{"Table does not exist", "iptables who?", "Address family not supported"},
			why: "this kernel has no table nat or mangle for iptables-legacy",
			fix: "sudo modprobe -a iptable_nat ip6table_nat iptable_mangle ip6table_mangle", unavailable: true},
		{says: []string{"unrecognized option", "unknown option", "invalid option"},
			why: "is too old: it does not know --wait",
			fix: "install iptables 1.6.2 or newer"},
		{says: []string{"Couldn't load", "missing kernel module", "Extension "},
			why: "an extension of iptables is missing",
			fix: "sudo modprobe -a xt_addrtype xt_comment xt_conntrack xt_tcpudp xt_nat"},
		{says: []string{"is incompatible, use 'nft'"},
			why: "the table nat or mangle holds rules that iptables cannot read: they were made by nft",
			fix: "sudo portmap apply --backend nft"},
		// ERESTART
		{says: []string{"should be restarted"}, why: "others changed rules at the same time", cause: rules.ErrDrift},
		{says: []string{"CHAIN_DEL failed", "Too many links"}, why: "rules of others lead into a chain of portmap's",
			// or others made changes just now
			fix: "`sudo iptables-save` shows them, with PORTMAP in the line: delete them", cause: rules.ErrDrift},
	}
}

// notInUse reports whether a look failed in a way that lasts, so that the variant is of no use here and holds nothing
// that matters: it is not installed, the kernel lacks it, or this process may not ask it, as in the sandbox of the boot
// unit, which has raw sockets only where iptables-legacy is in use. From any other error nothing follows: next time the
// look may succeed.
func notInUse(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.unavailable || errors.Is(err, unix.EPERM)
}

// explain turns the end of a command into an Error. The script, if there was one, tells a rule that is not as expected
// from an extension that the kernel lacks: iptables says the same of both.
func explain(command, stderr string, script script, end error) error {
	for _, c := range complaints() {
		for _, phrase := range c.says {
			if strings.Contains(stderr, phrase) {
				return &Error{Command: command, Why: c.why, Fix: c.fix, cause: c.cause, unavailable: c.unavailable}
			}
		}
	}
	e := &Error{Command: command, Why: firstLine(stderr), cause: end}
	if e.Why == "" {
		e.Why = end.Error()
	}
	failed, operation := script.failed(stderr)
	switch {
	case operation != nil && operation.needsPrevious():
		e.cause = rules.ErrDrift
	case failed != "":
		e.Fix = "sudo modprobe -a xt_addrtype xt_comment xt_conntrack xt_tcpudp xt_nat"
		e.Why = fmt.Sprintf("the kernel does not take %q (%s)", failed, e.Why)
	}
	return e
}

// needsPrevious reports whether an operation fails where the rules are not what they were taken for.
func (o *operation) needsPrevious() bool {
	return o.kind == deleteRule || o.kind == deleteChain || o.kind == insertRule && o.line.packets == 0
}

// failed returns the line that a message of iptables is about, and its operation: the line which iptables-restore
// names, or the only one; nothing if it names none, or the last, which stands for all.
func (s script) failed(stderr string) (string, *operation) {
	for _, phrase := range [...]string{"occurred at line: ", "line "} {
		_, after, found := strings.Cut(stderr, phrase)
		var n int
		if !found {
			continue
		}
		if _, err := fmt.Sscanf(after, "%d", &n); err == nil {
			if text, o := s.atLine(n); text != "" {
				return text, o
			}
		}
	}
	if len(s) == 1 {
		return string(s[0].append(nil)), &s[0]
	}
	return "", nil
}

func firstLine(text string) string {
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			return l
		}
	}
	return ""
}
