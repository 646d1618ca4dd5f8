package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"portmap/internal/reconcile"
	"portmap/internal/shell"
	"portmap/internal/store"
	"portmap/rules"
)

// Exit codes, as in the manual.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotPermitted = 3
)

// exitError ends the run with a code and no message: what was found is on standard output.
type exitError int

func (exitError) Error() string { return "" }

// usageError is a command line that means nothing.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// outputError says that what was printed did not arrive. The command itself did its work.
type outputError struct{ error }

func (e *outputError) Error() string { return "write the output: " + e.error.Error() }

func (e *outputError) Unwrap() error { return e.error }

// sentence is what a person reads of an error.
type sentence struct {
	is     func(error) bool
	code   int
	why    string // in the place of the error's own words; empty keeps them
	remedy func(*app, error) string
}

// sentences maps errors to what is said of them: the first that fits.
func sentences() []sentence {
	return []sentence{
		{is: as[*outputError], code: exitFailed, remedy: outputRemedy},
		{is: as[*store.UndoError], code: exitFailed,
			remedy: func(a *app, _ error) string {
				return fmt.Sprintf("`%s` shows what differs; to have it as the file says: %s", a.here("diff"),
					a.here("apply"))
			}},
		{is: as[*privateError], code: exitUsage},
		{is: as[*rules.UnsupportedError], code: exitUsage},
		{is: as[*rules.InvalidError], code: exitUsage, remedy: ownRemedy},
		{is: as[*rules.ConflictError], code: exitFailed, remedy: conflictRemedy},
		{is: as[*rules.LoopError], code: exitFailed, remedy: says("remove one of them")},
		{is: as[*reconcile.EmptyError], code: exitFailed, remedy: emptyRemedy},
		{is: as[*sshError], code: exitFailed, remedy: func(a *app, _ error) string {
			return "if you mean it: " + a.command("--force")
		}},
		{is: as[*reconcile.SelectError], code: exitFailed, remedy: selectRemedy},
		{is: as[*commandError], code: exitUsage, remedy: suggestion},
		{is: as[usageError], code: exitUsage,
			remedy: says("`portmap help` lists the commands, `portmap help COMMAND` their flags")},
		{is: func(err error) bool { return as[*fs.PathError](err) && errors.Is(err, fs.ErrPermission) },
			code: exitNotPermitted, remedy: permission},
		{is: errno(syscall.EPERM), code: exitNotPermitted,
			why: "not permitted; the kernel's packet rules need root or CAP_NET_ADMIN", remedy: sudo},
		{is: isErr(fs.ErrPermission), code: exitNotPermitted},
		{is: errno(syscall.EAFNOSUPPORT, syscall.EOPNOTSUPP), code: exitFailed,
			why:    "this kernel has no nf_tables, or lacks a part of it",
			remedy: says("load it with `sudo modprobe nf_tables`; Linux 5.11 or newer has all that is needed")},
		{is: errno(syscall.ENOSPC, syscall.EDQUOT), code: exitFailed,
			remedy: says("make room on the file system of the file, then do it again; nothing was changed")},
		{is: errno(syscall.EROFS), code: exitFailed, remedy: readOnlyRemedy},
		{is: errno(syscall.ENOMEM, syscall.ENOBUFS, syscall.EMSGSIZE), code: exitFailed,
			why:    "the kernel has no memory for that many rules; nothing was changed",
			remedy: says("as root in the first user namespace the limits are higher")},
		{is: as[*store.RefusedError], code: exitFailed, remedy: ownRemedy},
		{is: isErr(store.ErrLocked), code: exitFailed, remedy: says("wait for it, or find it with `pgrep -a portmap`")},
		{is: hasRemedy, code: exitFailed, remedy: ownRemedy},
		{is: isErr(rules.ErrDrift), code: exitFailed, remedy: func(a *app, _ error) string {
			return fmt.Sprintf("`%s` shows the difference, `%s` removes it", a.here("diff"), a.here("apply"))
		}},
		{is: isErr(context.Canceled), code: exitFailed, why: "interrupted; nothing was changed"},
	}
}

// remedied is an error that knows what to type.
type remedied interface {
	error
	Remedy() string
}

func hasRemedy(err error) bool {
	var r remedied
	return errors.As(err, &r) && r.Remedy() != ""
}

func as[E error](err error) bool { var e E; return errors.As(err, &e) }

func isErr(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func errno(any ...syscall.Errno) func(error) bool {
	return func(err error) bool {
		for _, n := range any {
			if errors.Is(err, n) {
				return true
			}
		}
		return false
	}
}

func says(text string) func(*app, error) string {
	return func(*app, error) string { return text }
}

// emptyRemedy names the command that removes everything; watch is not told to apply. After an interrupted change, it
// also names the one that saves what the change did.
func emptyRemedy(a *app, err error) string {
	var empty *reconcile.EmptyError
	if errors.As(err, &empty) && empty.Interrupted {
		return fmt.Sprintf("nothing was removed; to save what is live: %s | %s; to remove it: %s",
			a.here("list", "-o", "plain"), a.here("apply", "-f", "-"), a.here("remove", "--all"))
	}
	if empty != nil && empty.Others {
		return fmt.Sprintf("nothing was changed; `%s` names the file of each; if this file is to have none: %s",
			a.here("list"), a.command("--empty"))
	}
	if a.name != "apply" {
		return "nothing was removed; to remove all of them: " + a.here("remove", "--all")
	}
	return "nothing was removed; to remove all of them: " + a.command("--empty")
}

// readOnlyRemedy names the other ways only to a command that has them.
func readOnlyRemedy(a *app, _ error) string {
	if a.name == "add" {
		return "the file system is read-only; name a file elsewhere with --config, or use --temporary"
	}
	return "nothing was changed; make the file system writable, then do it again"
}

// outputRemedy says, after a command that changes something, that it did.
func outputRemedy(a *app, _ error) string {
	if !a.changed {
		return ""
	}
	return "the command itself succeeded; `sudo portmap list` shows what is live"
}

func sudo(a *app, _ error) string { return a.command() }

// permission tells root, who may not read everything in a unit without CAP_DAC_READ_SEARCH, from others.
func permission(a *app, err error) string {
	var file *fs.PathError
	if os.Geteuid() == 0 && errors.As(err, &file) && file.Op == "read" {
		return "sudo chmod o+r " + shell.Quote(file.Path)
	}
	return sudo(a, err)
}

func ownRemedy(_ *app, err error) string {
	var r remedied
	errors.As(err, &r)
	return r.Remedy()
}

// selectRemedy names each mapping that is meant in a way that means no other.
func selectRemedy(a *app, err error) string {
	var choice *reconcile.SelectError
	errors.As(err, &choice)
	if len(choice.Names) == 0 {
		return fmt.Sprintf("`%s` shows them", a.here("list"))
	}
	return fmt.Sprintf("name the one that you mean; all of them: %s",
		a.here(append([]string{"remove"}, choice.Names...)...))
}

func conflictRemedy(a *app, err error) string {
	var conflict *rules.ConflictError
	errors.As(err, &conflict)
	switch {
	case a.name != "add":
		return "take one of them out: " + conflict.With.String()
	case conflict.Name:
		return "choose another name; `sudo portmap list` shows those that are taken"
	case slices.Contains(a.args, "--replace"), a.typedBoth(conflict):
		return "leave one of them out"
	case conflict.Mapping.ListenPorts() != conflict.With.ListenPorts() ||
		conflict.Mapping.Protocols() != conflict.With.Protocols():
		return "to put it in the place of all of that one: " + a.command("--replace")
	}
	return "to put it in that one's place: " + a.command("--replace")
}

// report prints an error as one line, and its remedy as a second, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	var code exitError
	if errors.As(err, &code) {
		return int(code)
	}
	if !a.started {
		err = usageError{err}
	}
	err = a.withoutQuotes(err)
	if ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Canceled, err)
	}
	text, remedy, exit := a.explain(err)
	a.complain(text, remedy)
	return exit
}

// explain returns what a person reads of an error, what to do about it, and the exit code.
func (a *app) explain(err error) (text, remedy string, code int) {
	for _, s := range sentences() {
		if !s.is(err) {
			continue
		}
		text = err.Error()
		if s.why != "" {
			text = subject(err) + s.why
		}
		if s.remedy != nil {
			remedy = s.remedy(a, err)
		}
		return text, remedy, s.code
	}
	return err.Error(), "", exitFailed
}

// doingError says what was being done when an error came: the WHAT of a message.
type doingError struct {
	doing string
	error
}

func (e *doingError) Error() string { return e.doing + ": " + e.error.Error() }

func (e *doingError) Unwrap() error { return e.error }

// wrap says what was being done, unless the error names the mapping itself.
func wrap(err error, format string, args ...any) error {
	if err == nil || as[*rules.InvalidError](err) || as[*rules.UnsupportedError](err) ||
		as[*rules.ConflictError](err) ||
		as[*rules.LoopError](err) || as[*sshError](err) || as[*refusal](err) {
		return err // these begin with the mapping themselves
	}
	return &doingError{fmt.Sprintf(format, args...), err}
}

func subject(err error) string {
	var w *doingError
	if errors.As(err, &w) {
		return w.doing + ": "
	}
	return ""
}

func (a *app) complain(text, remedy string) {
	_ = a.flushOutput()
	fmt.Fprintf(a.err, "portmap: %s\n", oneLine(text))
	if remedy != "" {
		fmt.Fprintf(a.err, "  %s\n", oneLine(remedy))
	}
}

// oneLine keeps what was typed from breaking the form of a message.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
