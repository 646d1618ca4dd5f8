package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// script is a Healer that does what a test says.
type script struct {
	mu     sync.Mutex
	heal   func(look int) (Healed, error)
	silent bool
	looks  int
}

func (s *script) Silent() bool { return s.silent }

func (s *script) Heal(context.Context) (Healed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return s.heal(s.looks)
}

func (s *script) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// run starts a Watch of a script, and returns its file. At the end of the test the watch must end without error.
func run(t *testing.T, s *script, set func(*Watch)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "portmap.conf")
	file, err := FolderOf(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watch{Healer: s, Log: newLog(&strings.Builder{}), File: file, Interval: time.Hour, Now: time.Now, CPU: func() time.Duration { return 0 }}
	set(w)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the watch ended with %v", err)
		}
		file.Close()
	})
	s.until(t, 1)
	return path
}

// until waits for a look.
func (s *script) until(t *testing.T, look int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); s.looked() < look; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d looks, want %d", s.looked(), look)
		}
	}
}

func TestErrorAtTheStartEndsIt(t *testing.T) {
	file, err := FolderOf(filepath.Join(t.TempDir(), "portmap.conf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	broken := errors.New("broken")
	s := &script{heal: func(int) (Healed, error) { return Healed{}, broken }}
	w := &Watch{Healer: s, Log: newLog(&strings.Builder{}), File: file, Interval: time.Hour, Now: time.Now, CPU: ProcessCPU}
	if err := w.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("it ended with %v", err)
	}
}

func TestLookIsRepeatedAfterAnError(t *testing.T) {
	s := &script{heal: func(look int) (Healed, error) {
		if look == 2 || look == 3 {
			return Healed{}, errors.New("no memory")
		}
		return Healed{}, nil
	}}
	run(t, s, func(w *Watch) { w.Interval = 20 * time.Millisecond })
	s.until(t, 5) // without a Kernel each Interval asks for one
}

func TestEditAndHangupAskForALook(t *testing.T) {
	s := &script{heal: func(int) (Healed, error) { return Healed{}, nil }}
	hangup := make(chan os.Signal, 1)
	path := run(t, s, func(w *Watch) { w.Reload = hangup })
	if err := os.WriteFile(path+".other", nil, 0o644); err != nil { // another file of the folder
		t.Fatal(err)
	}
	hangup <- syscall.SIGHUP
	s.until(t, 2)
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	s.until(t, 3)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.until(t, 4)
}

// A change of the Healer's own, which the kernel tells of too, asks for no other look; somebody else's does.
func TestOwnChangesAskForNoLook(t *testing.T) {
	host, k := listening(t)
	s := &script{heal: func(look int) (Healed, error) {
		if look != 2 {
			return Healed{}, nil
		}
		host.Run("nft", "add table inet mended")
		return Healed{Added: make([]rules.Mapping, 1)}, nil
	}}
	run(t, s, func(w *Watch) { w.Kernel = k })
	host.Run("nft", "add table inet other")
	s.until(t, 2)
	time.Sleep(100 * time.Millisecond) // for what should not happen
	if n := s.looked(); n != 2 {
		t.Errorf("%d looks, want 2", n)
	}
	host.Run("nft", "delete table inet mended")
	s.until(t, 3)
}

// iptables-legacy tells nobody: its tables are glanced at.
func TestLegacyIsGlancedAt(t *testing.T) {
	lab.Need(t, "iptables", "nft")
	host, k := listening(t)
	for _, iptables := range []string{"iptables-legacy", "ip6tables-legacy"} {
		host.Run(iptables, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "443", "-j", "REDIRECT", "--to-ports", "8443")
	}
	var legacy *Legacy
	var err error
	host.Do(func() { legacy, err = OpenLegacy() })
	if err != nil {
		t.Fatal(err)
	}
	defer legacy.Close()
	s := &script{heal: func(int) (Healed, error) { return Healed{}, nil }, silent: true}
	run(t, s, func(w *Watch) { w.Kernel, w.Legacy = k, func() (*Legacy, error) { return legacy, nil } })
	time.Sleep(100 * time.Millisecond) // for what should not happen
	if n := s.looked(); n != 1 {
		t.Errorf("%d looks, want 1", n)
	}
	host.Run("iptables-legacy", "-t", "nat", "-F")
	s.until(t, 2)
	host.Run("ip6tables-legacy", "-t", "nat", "-F")
	s.until(t, 3)
}
