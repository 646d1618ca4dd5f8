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
	"portmap/ipt"
	"portmap/nft"
	"portmap/rules"
	"portmap/rules/notify"
)

func TestMain(m *testing.M) { lab.Main(m) }

// script is a Repairer that runs a function of the test.
type script struct {
	mu      sync.Mutex
	repair  func(check int) (Repaired, error)
	changes notify.Source // nil if there is none
	checks  int
}

func (s *script) Changes(context.Context) notify.Source { return s.changes }

func (s *script) Repair(context.Context) (Repaired, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks++
	return s.repair(s.checks)
}

func (s *script) checked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checks
}

// run starts a Watch of a script, and returns its file. At the end of the test the watch must end without error.
func run(t *testing.T, s *script, set func(*Watch)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "portmap.conf")
	file, err := FolderOf(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watch{Repairer: s, Log: newLog(&strings.Builder{}), File: file, Interval: time.Hour, Now: time.Now,
		CPU: func() time.Duration { return 0 }}
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

// until waits for a check.
func (s *script) until(t *testing.T, check int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); s.checked() < check; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d checks, want %d", s.checked(), check)
		}
	}
}

// stays waits for a check, and fails if another one follows.
func (s *script) stays(t *testing.T, check int) {
	t.Helper()
	s.until(t, check)
	time.Sleep(100 * time.Millisecond)
	if n := s.checked(); n != check {
		t.Fatalf("%d checks, want %d", n, check)
	}
}

func TestErrorAtTheStartEndsIt(t *testing.T) {
	file, err := FolderOf(filepath.Join(t.TempDir(), "portmap.conf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	broken := errors.New("broken")
	s := &script{repair: func(int) (Repaired, error) { return Repaired{}, broken }}
	w := &Watch{Repairer: s, Log: newLog(&strings.Builder{}), File: file, Interval: time.Hour, Now: time.Now,
		CPU: ProcessCPU}
	if err := w.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("it ended with %v", err)
	}
}

func TestCheckIsRepeatedAfterAnError(t *testing.T) {
	s := &script{repair: func(check int) (Repaired, error) {
		if check == 2 || check == 3 {
			return Repaired{}, errors.New("no memory")
		}
		return Repaired{}, nil
	}}
	run(t, s, func(w *Watch) { w.Interval = 20 * time.Millisecond })
	s.until(t, 5) // without Changes each Interval asks for one
}

// An edit that cannot be applied is tried again after a pause; other events do not wait for that.
func TestEditThatFailsIsNotRepeatedAtOnce(t *testing.T) {
	s := &script{repair: func(check int) (Repaired, error) {
		if check == 2 {
			return Repaired{}, errors.New("the lock is held")
		}
		return Repaired{}, nil
	}}
	hangup := make(chan os.Signal, 1)
	run(t, s, func(w *Watch) { w.Reload = hangup })
	hangup <- syscall.SIGHUP
	s.stays(t, 2)
	hangup <- syscall.SIGHUP
	s.until(t, 3)
}

// When its time is over, Watch checks once more.
func TestItsTimeIsOver(t *testing.T) {
	file, err := FolderOf(filepath.Join(t.TempDir(), "portmap.conf"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := &script{repair: func(int) (Repaired, error) { return Repaired{}, nil }}
	w := &Watch{
		Repairer: s, Log: newLog(&strings.Builder{}), File: file, Interval: time.Hour, For: 10 * time.Millisecond,
		Now: time.Now, CPU: ProcessCPU,
	}
	if err := w.Run(t.Context()); err != nil || s.checked() != 2 {
		t.Errorf("%d checks, and it ended with %v", s.checked(), err)
	}
}

func TestUnfinished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portmap.conf")
	file, err := FolderOf(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !file.Unfinished() {
		t.Error("no file is a whole one")
	}
	for content, want := range map[string]bool{"": true, "443:84": true, "443:8443\n80": true, "\n": false,
		"443:8443\n": false} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := file.Unfinished(); got != want {
			t.Errorf("%q: %v", content, got)
		}
	}
}

// Differs finds changes without an event: here the file is behind a link into another folder.
func TestDiffers(t *testing.T) {
	path, target := filepath.Join(t.TempDir(), "portmap.conf"), filepath.Join(t.TempDir(), "real.conf")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	file, err := FolderOf(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	long := time.Now().Add(-time.Hour)
	write := func(path, content string) error {
		return errors.Join(os.WriteFile(path, []byte(content), 0o644), os.Chtimes(path, long, long))
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"is made", func() error { return write(target, "443:8443\n") }},
		{"is written, as long as before", func() error { return os.Chtimes(target, long, long.Add(time.Second)) }},
		{"is longer, of the same time", func() error {
			return errors.Join(write(target, "443:8443\n80:8080\n"), os.Chtimes(target, long, long.Add(time.Second)))
		}},
		{"is another, alike", func() error {
			return errors.Join(write(target+".new", "443:9443\n80:9090\n"),
				os.Chtimes(target+".new", long, long.Add(time.Second)),
				os.Rename(target+".new", target))
		}},
		{"is removed", func() error { return os.Remove(target) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if !file.Differs() {
			t.Errorf("the file %s, and does not differ", step.what)
		}
		if file.Differs() {
			t.Errorf("the file %s, and differs twice", step.what)
		}
	}
}

// If even waking up is expensive, checks become rare, and do not end.
func TestChecksGoOnWhereTheyAreExpensive(t *testing.T) {
	s := &script{repair: func(int) (Repaired, error) { return Repaired{}, nil }}
	used := time.Duration(0)
	run(t, s, func(w *Watch) {
		w.Interval = 10 * time.Millisecond // without Changes each asks for a check
		w.CPU = func() time.Duration { used += 2 * time.Millisecond; return used }
	})
	s.until(t, 20)
}

func TestEditAndHangupAskForACheck(t *testing.T) {
	s := &script{repair: func(int) (Repaired, error) { return Repaired{}, nil }}
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

// A change by the Repairer itself is notified too, but asks for no further check; a change by another program does.
func TestOwnChangesAskForNoCheck(t *testing.T) {
	lab.Need(t, "nft")
	host := lab.New(t).Host("host")
	s := &script{changes: changesOf(t, host, func() (notify.Source, error) { return nft.Listen() }),
		repair: func(check int) (Repaired, error) {
			if check != 2 {
				return Repaired{}, nil
			}
			host.Run("nft", "add table inet repaired")
			return Repaired{Added: make([]rules.Mapping, 1)}, nil
		}}
	run(t, s, func(*Watch) {})
	host.Run("nft", "add table inet other")
	s.stays(t, 2)
	host.Run("nft", "delete table inet repaired")
	s.until(t, 3)
}

// A change by another program while the Repairer makes its own is found.
func TestChangesBesideOwnAskForACheck(t *testing.T) {
	lab.Need(t, "nft")
	host := lab.New(t).Host("host")
	s := &script{changes: changesOf(t, host, func() (notify.Source, error) { return nft.Listen() }),
		repair: func(check int) (Repaired, error) {
			if check != 2 {
				return Repaired{}, nil
			}
			host.Run("nft", "add table inet repaired")
			host.Run("nft", "delete table inet other")
			return Repaired{Added: make([]rules.Mapping, 1)}, nil
		}}
	run(t, s, func(*Watch) {})
	host.Run("nft", "add table inet other")
	s.until(t, 3)
}

// iptables-legacy sends no notifications: its tables are polled, and notifications of nf_tables do not concern them.
func TestLegacyIsPolled(t *testing.T) {
	host, s := startLegacy(t, func(int, func(...string)) bool { return false })
	host.Run("nft", "add table inet other")
	s.stays(t, 1)
	host.Run("iptables-legacy", "-t", "nat", "-F")
	s.until(t, 2)
	host.Run("ip6tables-legacy", "-t", "nat", "-F")
	s.until(t, 3)
}

// Rules that are put back as before ask for no further check. Rules that are removed again at that moment are found.
func TestLegacyIsPolledAfterAChange(t *testing.T) {
	host, s := startLegacy(t, func(check int, nat func(...string)) bool {
		if check == 2 || check == 3 {
			nat("-A", "OUTPUT", "-j", "RETURN")
		}
		if check == 2 {
			nat("-F")
		}
		return check == 2 || check == 3
	})
	s.stays(t, 1)
	host.Run("iptables-legacy", "-t", "nat", "-F")
	s.until(t, 3)
	s.stays(t, 3)
}

// startLegacy starts a Watch of a host with one rule of iptables-legacy in each family. repair gets the number of the
// check and a function that changes the table of IPv4, and returns whether it changed anything.
func startLegacy(t *testing.T, repair func(check int, nat func(...string)) bool) (*lab.Host, *script) {
	t.Helper()
	lab.Need(t, "iptables", "nft")
	host := lab.New(t).Host("host")
	for _, iptables := range []string{"iptables-legacy", "ip6tables-legacy"} {
		host.Run(iptables, "-t", "nat", "-A", "OUTPUT", "-j", "RETURN")
	}
	nat := func(args ...string) { host.Run("iptables-legacy", append([]string{"-t", "nat"}, args...)...) }
	s := &script{changes: changesOf(t, host, func() (notify.Source, error) { return ipt.ListenLegacy() }),
		repair: func(check int) (repaired Repaired, _ error) {
			if repair(check, nat) {
				repaired.Damage = "repaired"
			}
			return repaired, nil
		}}
	run(t, s, func(*Watch) {})
	return host, s
}

// changesOf opens the source of changes of a host.
func changesOf(t *testing.T, host *lab.Host, open func() (notify.Source, error)) (c notify.Source) {
	t.Helper()
	var err error
	host.Do(func() { c, err = open() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// After the rules have moved to another packet filter, its source is used, and there is one more check.
func TestRulesMoveToAnotherFilter(t *testing.T) {
	lab.Need(t, "iptables", "nft")
	host := lab.New(t).Host("host")
	legacy := changesOf(t, host, func() (notify.Source, error) { return ipt.ListenLegacy() })
	s := &script{changes: changesOf(t, host, func() (notify.Source, error) { return nft.Listen() })}
	s.repair = func(check int) (Repaired, error) {
		if check == 2 {
			s.changes = legacy
		}
		return Repaired{}, nil
	}
	run(t, s, func(*Watch) {})
	host.Run("nft", "add table inet other")
	s.stays(t, 3)
	host.Run("nft", "add table inet another")
	s.stays(t, 3)
	host.Run("iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-j", "RETURN")
	s.until(t, 4)
}
