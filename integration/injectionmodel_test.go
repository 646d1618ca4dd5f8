//go:build amd64

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portmap/internal/fault"
	"portmap/internal/lab"
	"portmap/internal/switches"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// faultModel is a host on which a command is run with faults, and what is to be there before and afterwards.
type faultModel struct {
	t        *testing.T
	backend  backend
	command  faultyCommand
	host     *lab.Host
	portmap  portmap
	input    string
	foreign  string
	usual    []string  // files that are there also when nothing fails
	old, new situation // before and after the command
	out      string    // what the command prints when nothing fails
	now      situation // as it was seen last
	astray   bool      // rules may be in another backend
}

// situation is the file and what is live.
type situation struct {
	file     string
	live     string // sorted lines
	damaged  string
	switches string // those that are on
}

// missing stands for the content of a file that is not there.
const missing = "# there is no file"

func newFaultModel(t *testing.T, b backend, c faultyCommand, p portmap) *faultModel {
	t.Helper()
	p.t = t
	m := &faultModel{t: t, backend: b, command: c, host: p.host, portmap: p, foreign: p.host.Foreign()}
	m.old = situation{file: m.text(c.before), live: inOrder(c.before)}
	switch {
	case len(c.before) == 0:
		m.old.file = missing
	case c.edited != nil:
		m.old.file = m.text(c.edited)
	}
	m.new = situation{live: inOrder(c.after)}
	if c.live != nil {
		m.new.live = inOrder(c.live)
	}
	m.old.switches, m.new.switches = switchesFor(t, m.old.live), switchesFor(t, m.new.live)
	m.input = filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(m.input, []byte(m.text(c.after)), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *faultModel) text(lines []string) string {
	return "# mappings of the host\n" + m.backend.line() + strings.Join(append(slices.Clone(lines), ""), "\n")
}

func inOrder(lines []string) string {
	return strings.Join(slices.Sorted(slices.Values(lines)), "\n")
}

// mappingsOf returns the lines of a file that are mappings.
func mappingsOf(file string) string {
	return inOrder(slices.DeleteFunc(strings.Split(file, "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "backend ")
	}))
}

// count runs the command without a fault, which tells what it prints and how it writes the file, and returns how many
// calls there are for each kind of fault.
func (m *faultModel) count() map[fault.Kind]int {
	m.t.Helper()
	m.reset()
	r := m.run(fault.Fault{})
	seen := m.observe()
	m.out, m.new.file, m.usual = r.Out, seen.file, m.litter()
	if r.Code != 0 || seen != m.new || mappingsOf(seen.file) != inOrder(m.command.after) {
		m.t.Fatalf("without a fault: %+v, and then there is %+v", r, seen)
	}
	return r.Counts
}

// reset makes everything as it is before the command.
func (m *faultModel) reset() {
	m.t.Helper()
	if m.now == m.old && !m.astray {
		return
	}
	if m.astray {
		for _, b := range backends() {
			m.hold(b, nil)
		}
		m.astray = false
	}
	m.hold(m.backend, m.command.before)
	if m.old.file == missing {
		_ = os.Remove(m.portmap.file)
	} else if err := os.WriteFile(m.portmap.file, []byte(m.old.file), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if m.switchedOn() != m.old.switches {
		m.portmap.run("apply")
	}
	if seen := m.observe(); seen != m.old {
		m.t.Fatalf("there is %+v, which should be %+v", seen, m.old)
	}
}

// hold has a backend hold these mappings and no others.
func (m *faultModel) hold(b backend, lines []string) {
	m.t.Helper()
	b.with(m.t, m.host, func(k rules.Backend) error {
		err := hold(m.t, k, lines)
		if errors.Is(err, rules.ErrDrift) { // as the command does: what is there is read again
			err = hold(m.t, k, lines)
		}
		return err
	})
}

func hold(t *testing.T, k rules.Backend, lines []string) error {
	live, err := k.Live(context.Background())
	if err != nil {
		return err
	}
	change := rules.Change{Reset: true, Add: lab.Mappings(t, lines...)}
	for _, l := range live.Mappings {
		change.Remove = append(change.Remove, l.Mapping)
	}
	return k.Apply(context.Background(), change)
}

func (m *faultModel) run(f fault.Fault) fault.Result {
	m.t.Helper()
	args := slices.Clone(m.command.args)
	if i := slices.Index(args, input); i >= 0 {
		args[i] = m.input
	}
	cmd := m.portmap.cmd(args...)
	var r fault.Result
	var err error
	m.host.Do(func() {
		r, err = fault.Run(fault.Command{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Within: 20 * time.Second}, f)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *faultModel) observe() situation {
	m.t.Helper()
	content, err := os.ReadFile(m.portmap.file)
	switch {
	case os.IsNotExist(err):
		content = []byte(missing)
	case err != nil:
		m.t.Fatal(err)
	}
	live := m.backend.live(m.t, m.host)
	m.now = situation{string(content), inOrder(strings.Split(texts(live), "\n")), live.Damaged, m.switchedOn()}
	return m.now
}

// switchesFor returns the switches that mappings need, switchedOn those that are on.
func switchesFor(t *testing.T, live string) string {
	t.Helper()
	var lines []string
	if live != "" {
		lines = strings.Split(live, "\n")
	}
	return strings.Join(switches.Needed(lab.Mappings(t, lines...)), " ")
}

func (m *faultModel) switchedOn() (list string) {
	m.host.Do(func() {
		all := []string{switches.RouteLocalnet, switches.Forward4, switches.Forward6}
		off := switches.Off(all)
		list = strings.Join(slices.DeleteFunc(all, func(s string) bool { return slices.Contains(off, s) }), " ")
	})
	return list
}

// litter returns what portmap left that is neither the file, the one before it, nor a lock, whatever its name.
func (m *faultModel) litter() (names []string) {
	for _, pattern := range [...]string{m.portmap.file + "*", filepath.Dir(m.portmap.file) + "/.*", "/run/portmap/*",
		"/run/*portmap*"} {
		found, _ := filepath.Glob(pattern)
		names = append(names, found...)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		if filepath.Ext(name) == ".switches" && m.now.switches != "" || strings.HasSuffix(name, ".switches.new") {
			return true // where their old values are; the next change writes the second file again
		}
		return name == m.portmap.file || name == m.portmap.file+".old" || filepath.Ext(name) == ".lock" ||
			name == "/run/portmap" || slices.Contains(m.usual, name)
	})
}

// locked returns the locks of portmap's that somebody still holds.
func (m *faultModel) locked() (names []string) {
	for _, pattern := range [...]string{filepath.Dir(m.portmap.file) + "/*.lock", "/run/portmap/*.lock"} {
		found, _ := filepath.Glob(pattern)
		for _, name := range found {
			file, err := os.Open(name)
			if err != nil {
				m.t.Fatal(err)
			}
			if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
				names = append(names, name)
			}
			file.Close()
		}
	}
	return names
}

// try runs the command with a fault, and tells what is wrong afterwards.
func (m *faultModel) try(f fault.Fault) fault.Result {
	m.t.Helper()
	m.reset()
	r := m.run(f)
	var wrong []string
	is := func(problem string, so bool) {
		if so {
			wrong = append(wrong, problem)
		}
	}
	seen := m.observe()
	is("it did not end in time", r.Late)
	is(fmt.Sprintf("processes are left: %v", r.Left), len(r.Left) > 0)
	is(fmt.Sprintf("locks are held: %v", m.locked()), len(m.locked()) > 0)
	switch {
	case r.Killed || strings.Contains(r.Err, "fatal error: "): // Go's runtime ends the program so
		m.judgeKilled(r, seen, is)
	case r.Code == 0:
		is("it says that it is done, and it is not", seen != m.new)
		is("it says something else than without a fault", r.Out != m.out)
	default:
		m.judgeFailed(r, seen, is)
	}
	if left := m.litter(); len(left) > 0 {
		is(fmt.Sprintf("litter: %v", left), true)
		for _, name := range left {
			_ = os.Remove(name)
		}
	}
	if foreign := m.host.Foreign(); foreign != m.foreign {
		m.t.Fatalf("%s, %s: the rules of others are not what they were:\n%s", f, r.Hit, lineDiff(m.foreign, foreign))
	}
	if len(wrong) > 0 {
		m.astray = true
		m.t.Errorf("%s, %s: %s\nexit %d, killed %t, it printed %q, and said\n%sfile %q\nlive %q %s", f, r.Hit,
			strings.Join(wrong, "; "), r.Code, r.Killed, r.Out, r.Err, seen.file, seen.live, seen.damaged)
	}
	return r
}

// complaint is the form of an error: a line, and one with the remedy. Where the output is what could not be written,
// what there is to note stands before it.
func complaint() *regexp.Regexp {
	return regexp.MustCompile(
		`^((portmap: [^\n]+\n)*portmap: write the output: [^\n]+\n|portmap: [^\n]+\n)(  [^\n]+\n)?$`)
}

// judgeFailed judges a command that ended with an error: nothing has changed. Only where what it did could not be
// printed it has.
func (m *faultModel) judgeFailed(r fault.Result, seen situation, is func(string, bool)) {
	printing := strings.Contains(r.Err, "write the output")
	is("it failed, and changed something", seen != m.old && !printing)
	is("it says that nothing was changed", seen != m.old && strings.Contains(r.Err, "nothing was changed"))
	is("it failed, and says that something was done", r.Out != "" && !printing)
	is("the error is not one line and a remedy", !complaint().MatchString(r.Err))
	is("the exit code is not 1", r.Code != 1)
}

// judgeKilled judges what a command left that was killed, and lets the next one put it right.
func (m *faultModel) judgeKilled(r fault.Result, seen situation, is func(string, bool)) {
	is("the file is neither the old nor the new one", seen.file != m.old.file && seen.file != m.new.file)
	is("the file is ahead of the kernel", seen.file == m.new.file && m.new.file != m.old.file &&
		seen.live != m.new.live)
	is("it printed something else", r.Out != "" && r.Out != m.out)
	is("what it printed is not so", r.Out != "" && seen != m.new)
	is("servers on loopback are open to the network", strings.Contains(seen.switches, switches.RouteLocalnet) &&
		!strings.Contains(seen.live, "127.0.0.1"))
	if m.backend.choice == "nft" {
		is("the rules are damaged", seen.damaged != "")
		is("what is live is neither the old nor the new", seen.live != m.old.live && seen.live != m.new.live)
	} else { // each family is a transaction of its own
		is("what is live is not of the old and the new", !between(m.old.live, seen.live, m.new.live))
	}
	if m.command.name == "flush" {
		return // nothing is to be put right
	}
	args := []string{"apply"}
	if seen.file == missing {
		args = append(args, "--empty") // which says that it was not mistyped
	}
	apply := m.portmap.try(args...)
	mended := m.observe()
	want := mappingsOf(mended.file)
	if m.command.live != nil && strings.Contains(mended.live, "--temporary") {
		want = m.new.live
	}
	is(fmt.Sprintf("apply does not put it right: %+v; then there is %+v", apply, mended),
		apply.Code != 0 || mended.live != want || mended.damaged != "" || mended.file != seen.file &&
			seen.file != missing || mended.switches != switchesFor(m.t, mended.live))
}

// between reports whether lines have all that both others have, and nothing that none of them has.
func between(one, lines, other string) bool {
	a, b := strings.Split(one, "\n"), strings.Split(other, "\n")
	there := strings.Split(lines, "\n")
	for _, line := range append(slices.Clone(a), b...) {
		if slices.Contains(a, line) && slices.Contains(b, line) && !slices.Contains(there, line) {
			return false
		}
	}
	return !slices.ContainsFunc(there, func(line string) bool {
		return line != "" && !slices.Contains(a, line) && !slices.Contains(b, line)
	})
}
