// Package integration holds the tests that need a kernel: real rules, real servers and clients, in network namespaces that
// each test makes. What holds for one backend holds for all: the tests run over one table of them.
package integration

import (
	"context"
	"os/exec"
	"path/filepath"
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
	name string
	open func() (rules.Backend, error)
}

func backends() []backend {
	return []backend{
		{"nft", func() (rules.Backend, error) { return nft.Open() }},
		{"iptables-nft", iptables(ipt.NFTables)},
		{"iptables-legacy", iptables(ipt.Legacy)},
	}
}

func iptables(v ipt.Variant) func() (rules.Backend, error) {
	return func() (rules.Backend, error) { return ipt.Open(context.Background(), ipt.Options{Variant: v, Wait: time.Second}) }
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
		return flows.Forget(c)
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

var binary = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("mktemp", "-d").Output()
	if err != nil {
		return "", err
	}
	path := filepath.Join(strings.TrimSpace(string(dir)), "portmap")
	if err := exec.Command("chmod", "755", filepath.Dir(path)).Run(); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", path, "portmap/cmd/portmap").CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return path, nil
})

// portmap is the command, with a file of its own, on a host.
type portmap struct {
	t    testing.TB
	host *lab.Host
	path string
	file string
}

func command(t testing.TB, h *lab.Host) portmap {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err, path)
	}
	return portmap{t, h, path, filepath.Join(t.TempDir(), "portmap.conf")}
}

func (p portmap) cmd(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, append([]string{"--config", p.file}, args...)...)
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

// pair is a host, and a client that reaches it at 192.0.2.1 and 2001:db8::1. The host has rules of others, which must be the
// same at the end of the test, byte for byte.
func pair(t testing.TB) (host, client *lab.Host) {
	t.Helper()
	host, client = barePair(t)
	host.SeedForeign()
	before := host.Foreign()
	t.Cleanup(func() {
		if after := host.Foreign(); after != before {
			t.Errorf("the rules of others were\n%s\nand are\n%s", before, after)
		}
	})
	return host, client
}

// barePair is a pair whose host has no rules: for tests that flush them.
func barePair(t testing.TB) (host, client *lab.Host) {
	t.Helper()
	n := lab.New(t)
	host, client = n.Host("host"), n.Host("client")
	n.Link(host, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
	return host, client
}

// id returns the number of the one entry that `conntrack -L -o id` lists.
func id(listing string) string {
	_, after, _ := strings.Cut(listing, "id=")
	number, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(number)
}
