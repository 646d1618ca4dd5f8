// Package integration holds the tests that need a kernel: real rules, real servers and clients, in network namespaces
// that each test makes. What holds for one backend holds for all: the tests run over one table of them.
package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portmap/internal/flows"
	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/nft"
	"portmap/rules"
)

func TestMain(m *testing.M) { lab.Main(m) }

// backend is one way to put mappings into the kernel.
type backend struct {
	name   string
	choice string // for --backend
	open   func() (rules.Backend, error)
	tools  []string // the programs that others use on the same rules: for iptables those of both families
}

func backends() []backend {
	return []backend{
		{"nft", "nft", func() (rules.Backend, error) { return nft.Open() }, []string{"nft"}},
		iptables(ipt.NFTables),
		iptables(ipt.Legacy),
	}
}

func iptables(v ipt.Variant) backend {
	open := func() (rules.Backend, error) {
		return ipt.Open(context.Background(), ipt.Options{Variant: v, Wait: time.Second})
	}
	return backend{string(v), "iptables", open, []string{string(v), strings.Replace(string(v), "ip", "ip6", 1)}}
}

// prefer makes a host one on which the command takes this backend's variant: it holds the most rules.
func (b backend) prefer(h *lab.Host) {
	if b.name == "nft" {
		return
	}
	site := "*filter\n:SITE - [0:0]\n" + strings.Repeat("-A SITE -j RETURN\n", 20) + "COMMIT\n"
	for _, tool := range b.tools {
		cmd := exec.Command(tool+"-restore", "--noflush")
		cmd.Stdin = strings.NewReader(site)
		h.TryCommand(cmd)
	}
}

// flush is what somebody else does who wants no rules at all.
func (b backend) flush(h *lab.Host) {
	for _, tool := range b.tools {
		if tool == "nft" {
			h.Run(tool, "flush", "ruleset")
		} else {
			for _, table := range []string{"nat", "mangle", "filter"} {
				h.Run(tool, "-t", table, "-F")
				h.Run(tool, "-t", table, "-X")
			}
		}
	}
	b.prefer(h)
}

// save returns the host's rules as texts for load.
func (b backend) save(h *lab.Host) (texts []string) {
	for _, tool := range b.tools {
		if tool == "nft" {
			texts = append(texts, h.Run(tool, "list", "ruleset"))
		} else {
			texts = append(texts, h.Run(tool+"-save", "-t", "filter")+h.Run(tool+"-save", "-t", "mangle")+
				h.Run(tool+"-save", "-t", "nat"))
		}
	}
	return texts
}

// line is the line of the file that fixes the backend, where the command is asked for it.
func (b backend) line() string {
	if b.name == "nft" {
		return ""
	}
	return "backend " + b.choice + "\n"
}

// load adds rules to those that are there.
func (b backend) load(t testing.TB, h *lab.Host, texts []string) {
	t.Helper()
	for i, text := range texts {
		tool := b.tools[i]
		cmd := exec.Command("nft", "-f", "-")
		if tool != "nft" {
			cmd = exec.Command(tool+"-restore", "--noflush")
		}
		cmd.Stdin = strings.NewReader(text)
		if r := h.TryCommand(cmd); r.Code != 0 {
			t.Fatalf("%v: %s", cmd.Args, r.Err)
		}
	}
}

func eachBackend(t *testing.T, test func(*testing.T, backend)) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) { test(t, b) })
	}
}

// with does something with a backend on a host.
func (b backend) with(t testing.TB, h *lab.Host, do func(rules.Backend) error) {
	t.Helper()
	var err error
	h.Do(func() {
		var live rules.Backend
		if live, err = b.open(); err != nil {
			return
		}
		defer live.Close()
		err = do(live)
	})
	if err != nil {
		t.Fatalf("%s: %v", b.name, err)
	}
}

// change applies a change on a host, and makes connection tracking forget what it made untrue.
func (b backend) change(t testing.TB, h *lab.Host, c rules.Change) {
	t.Helper()
	b.with(t, h, func(live rules.Backend) error {
		if err := live.Apply(context.Background(), c); err != nil {
			return err
		}
		return flows.Forget(flows.Change{Removed: c.Remove, Added: c.Add})
	})
}

// add puts mappings into the kernel of a host.
func (b backend) add(t testing.TB, h *lab.Host, lines ...string) []rules.Mapping {
	t.Helper()
	mappings := lab.Mappings(t, lines...)
	b.change(t, h, rules.Change{Add: mappings})
	return mappings
}

// live reads what the kernel of a host has.
func (b backend) live(t testing.TB, h *lab.Host) (live rules.Live) {
	t.Helper()
	b.with(t, h, func(k rules.Backend) (err error) {
		live, err = k.Live(context.Background())
		return err
	})
	return live
}

func texts(live rules.Live) string {
	var lines []string
	for _, m := range live.Mappings {
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}

// connections returns how many connections the kernel has counted for a mapping.
func connections(live rules.Live, mapping string) uint64 {
	for _, m := range live.Mappings {
		if m.String() == mapping {
			return m.Connections
		}
	}
	return 0
}

var binary = compiled(func(path string) *exec.Cmd {
	cmd := exec.Command("go", "build", "-o", path, "portmap/cmd/portmap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	return cmd
})

// compiled returns a function that compiles the command once, and says where it is.
func compiled(compile func(path string) *exec.Cmd) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		dir, err := exec.Command("mktemp", "-d").Output()
		if err != nil {
			return "", err
		}
		path := filepath.Join(strings.TrimSpace(string(dir)), "portmap")
		if err := exec.Command("chmod", "755", filepath.Dir(path)).Run(); err != nil {
			return "", err
		}
		out, err := compile(path).CombinedOutput()
		if err != nil {
			return string(out), err
		}
		return path, nil
	})
}

// portmap is the command, with a file of its own, on a host.
type portmap struct {
	t       testing.TB
	host    *lab.Host
	path    string
	file    string
	options []string
	without []string // programs of /usr/sbin that this host does not have
	users   string   // stands in the place of /etc/passwd
}

func (b backend) command(t testing.TB, h *lab.Host) portmap {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err, path)
	}
	p := portmap{t: t, host: h, path: path, file: filepath.Join(t.TempDir(), "portmap.conf")}
	if b.name != "nft" { // which is what the command takes by itself
		p.options = []string{"--backend", b.choice}
	}
	return p
}

func (p portmap) cmd(args ...string) *exec.Cmd {
	line := slices.Concat([]string{p.path, "--config", p.file}, p.options, args)
	if len(p.without) > 0 { // by something that nobody can run, in a mount namespace of the command's own
		hide := "while [ $1 != -- ]; do mount --bind /dev/null /usr/sbin/$1 || exit 99; shift; done; shift; exec \"$@\""
		line = slices.Concat([]string{"unshare", "-m", "sh", "-c", hide, "hide"}, p.without, []string{"--"}, line)
	}
	if p.users != "" {
		bind := "mount --bind \"$1\" /etc/passwd || exit 99; shift; exec \"$@\""
		line = append([]string{"unshare", "-m", "sh", "-c", bind, "bind", p.users}, line...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	return cmd
}

// try runs the command and returns what came of it.
func (p portmap) try(args ...string) lab.Result {
	p.t.Helper()
	return p.host.TryCommand(p.cmd(args...))
}

// run runs the command, which must succeed, and returns its output.
func (p portmap) run(args ...string) string {
	p.t.Helper()
	r := p.try(args...)
	if r.Code != 0 {
		p.t.Fatalf("portmap %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

// pair is a host, and a client that reaches it at 192.0.2.1 and 2001:db8::1. The host has rules of others, which must
// be the same at the end of the test, byte for byte.
func (b backend) pair(t testing.TB) (host, client *lab.Host) {
	t.Helper()
	host, client = b.barePair(t)
	host.SeedForeign()
	before := host.Foreign()
	t.Cleanup(func() {
		if after := host.Foreign(); after != before {
			t.Errorf("the rules of others are not what they were:\n%s", lineDiff(before, after))
		}
	})
	return host, client
}

// barePair is a pair whose host has no rules: for tests that flush them.
func (b backend) barePair(t testing.TB) (host, client *lab.Host) {
	t.Helper()
	n := lab.New(t)
	host, client = n.Host("host"), n.Host("client")
	n.Link(host, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
	b.prefer(host)
	return host, client
}

// id returns the number of the one entry that `conntrack -L -o id` lists.
func id(listing string) string {
	_, after, _ := strings.Cut(listing, "id=")
	number, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(number)
}
