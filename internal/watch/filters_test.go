package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"portmap/internal/filters"
	"portmap/internal/lab"
	"portmap/internal/reconcile"
	"portmap/internal/rundir"
	"portmap/internal/store"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// hostWith is a host with filters of the test's, and a file with one mapping.
func hostWith(t *testing.T, kinds []filters.Kind, content string) *reconcile.Host {
	t.Helper()
	path := filepath.Join(t.TempDir(), "portmap.conf")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	h := &reconcile.Host{Kinds: kinds, File: store.At(path), Run: rundir.At(t.TempDir())}
	t.Cleanup(func() { h.Close() })
	return h
}

func lines(live rules.Live) string {
	text := ""
	for _, m := range live.Mappings {
		text += m.String() + "\n"
	}
	return text
}

// Only the table of filters knows which there are: with one more, mappings are added to it, listed, fixed by a file,
// watched, and moved to it and from it.
func TestOneMoreFilter(t *testing.T) {
	ctx := t.Context()
	first, second := &memory{name: "first"}, &memory{name: "second"}
	kinds := second.with(first.with()...)
	h := hostWith(t, kinds, "443:8443\n")
	if _, err := h.Add(ctx, lab.Mappings(t, "80:8080", "81:8081 --temporary"), reconcile.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	const temporary = "81:8081/tcp --temporary\n"
	if lines(first.live) != "80:8080/tcp\n"+temporary {
		t.Fatalf("the first has\n%s", lines(first.live))
	}
	for _, move := range []struct {
		choice   string
		from, to *memory
	}{{"second", first, second}, {"first", second, first}, {"second", first, second}} {
		mover := &reconcile.Host{Kinds: kinds, Choice: move.choice, File: h.File, Run: h.Run}
		report, err := mover.Apply(ctx, nil, reconcile.ApplyOptions{})
		if err != nil || report.Moved == "" {
			t.Fatalf("to the %s: %+v, %v", move.choice, report, err)
		}
		if lines(move.from.live) != "" || lines(move.to.live) != "80:8080/tcp\n"+temporary+"443:8443/tcp\n" {
			t.Fatalf("to the %s: live are\n%s and\n%s", move.choice, lines(move.from.live), lines(move.to.live))
		}
		if saved, err := h.File.Read(); err != nil || string(saved) != "backend "+move.choice+
			"\n443:8443\n80:8080/tcp\n" {
			t.Fatalf("to the %s: saved are %q, %v", move.choice, saved, err)
		}
		mover.Close()
	}
	listing, err := (&reconcile.Host{Kinds: kinds, File: h.File, Run: h.Run}).List(ctx)
	if err != nil || listing.Backend != "second" || len(listing.Rows) != 3 || listing.Damaged != "" {
		t.Fatalf("listed are %+v, %v", listing, err)
	}
	watched := &reconcile.Host{Kinds: kinds, File: h.File, Run: h.Run}
	repairer := NewHostRepairer(watched)
	run(t, &script{repair: func(int) (Repaired, error) { return repairer.Repair(context.Background()) }},
		func(w *Watch) {
			w.Interval = 10 * time.Millisecond
		})
	second.put(rules.Set{})
	for end := time.Now().Add(5 * time.Second); second.text() != "80:8080/tcp\n"+temporary+
		"443:8443/tcp\n"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("5 s after the flush live are\n%s", second.text())
		}
	}
}

// A watch that begins while mappings are live in two filters moves them to one.
func TestWatchMovesWhatIsElsewhere(t *testing.T) {
	first, second := &memory{name: "first"}, &memory{name: "second"}
	h := hostWith(t, second.with(first.with()...), "443:8443\n")
	first.put(mustSet(t, "443:8443"))
	second.put(mustSet(t, "80:8080 --temporary"))
	repairer := NewHostRepairer(h)
	repairer.Changes(t.Context())
	if _, err := repairer.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.text() != "80:8080/tcp --temporary\n443:8443/tcp\n" || second.text() != "" {
		t.Errorf("live are\n%s and\n%s", first.text(), second.text())
	}
}

// put replaces the live mappings, as another program would.
func (m *memory) put(set rules.Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = liveOf(set)
}

func (m *memory) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return lines(m.live)
}

// spoiled is a filter whose changes can fail, or do something more.
type spoiled struct {
	*memory
	before func() error
}

func (s *spoiled) Apply(ctx context.Context, c rules.Change) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	return s.memory.Apply(ctx, c)
}

// Whichever step of a move fails, all filters are as they were.
func TestMoveThatFails(t *testing.T) {
	fails := func(*reconcile.Host) error { return unix.ENOMEM }
	folderInTheWay := func(h *reconcile.Host) error { // of the rename that is the last step
		return errors.Join(os.Remove(h.File.Path), os.MkdirAll(filepath.Join(h.File.Path, "in the way"), 0o755))
	}
	for name, spoil := range map[string][2]func(*reconcile.Host) error{
		"the first step":  {fails, nil},
		"the second step": {nil, fails},
		"the last step":   {nil, folderInTheWay},
	} {
		to, from := &spoiled{memory: &memory{name: "to"}}, &spoiled{memory: &memory{name: "from"}}
		kinds := from.with(to.with()...)
		for i, s := range []*spoiled{to, from} {
			kinds[i].Open = func(context.Context) (*filters.Filter, error) { return &filters.Filter{Backend: s}, nil }
		}
		h := hostWith(t, kinds, "443:8443\n")
		from.put(mustSet(t, "443:8443", "80:8080 --temporary"))
		to.put(mustSet(t, "443:8443"))
		h.Choice = "to"
		for i, s := range []*spoiled{to, from} {
			if do := spoil[i]; do != nil {
				s.before = func() error { s.before = nil; return do(h) }
			}
		}
		if _, err := h.Apply(t.Context(), nil, reconcile.ApplyOptions{}); err == nil {
			t.Errorf("%s: it is said to have worked", name)
		}
		if to.text() != "443:8443/tcp\n" || from.text() != "80:8080/tcp --temporary\n443:8443/tcp\n" {
			t.Errorf("%s: live are\n%s and\n%s", name, to.text(), from.text())
		}
	}
}

// A repair reads the file once, parses it once, reads the kernel at most twice, and makes one change, temporary
// mappings included.
func TestRepairIsOneChange(t *testing.T) {
	filter := &memory{name: "memory"}
	h := hostWith(t, filter.with(), "web:8443\n80:8080\n")
	parses := 0
	h.Services = func(_, name string) (int, error) {
		if name != "web" {
			return 0, errors.New("no such service")
		}
		parses++
		return 443, nil
	}
	repairer := NewHostRepairer(h)
	if _, err := repairer.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add(t.Context(), lab.Mappings(t, "81:8081 --temporary"), reconcile.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	opened := opens(t, h.File.Path)
	for _, c := range []struct {
		what              string
		lose              func()
		listings, changes int
	}{
		{"nothing to do", func() {}, 1, 0},
		{"everything was flushed", func() { filter.put(rules.Set{}) }, 2, 1},
		{"one is lost", func() { filter.put(mustSet(t, "80:8080", "81:8081 --temporary")) }, 2, 1},
	} {
		c.lose()
		parses, filter.listings, filter.reads, filter.changes = 0, 0, 0, 0
		opened()
		repaired, err := repairer.Repair(t.Context())
		if err != nil || repaired.Total != 3 ||
			lines(filter.live) != "80:8080/tcp\n81:8081/tcp --temporary\n443:8443/tcp\n" {
			t.Errorf("%s: %+v, %v; live are\n%s", c.what, repaired, err, lines(filter.live))
		}
		if n := opened(); n != 1 || parses != 1 || filter.listings != c.listings || filter.reads != c.listings ||
			filter.changes != c.changes {
			t.Errorf("%s: the file was opened %d times, parsed %d; %d lists of the kernel and %d at the temporary "+
				"mappings, %d changes",
				c.what, n, parses, filter.listings, filter.reads, filter.changes)
		}
	}
}

func mustSet(t *testing.T, texts ...string) rules.Set {
	t.Helper()
	set, err := rules.NewSet(lab.Mappings(t, texts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// opens returns a function that counts how often a file was opened since its last call.
func opens(t *testing.T, path string) func() int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() (count int) {
		buffer := make([]byte, 64*unix.SizeofInotifyEvent)
		for {
			n, err := unix.Read(fd, buffer)
			if err != nil {
				return count
			}
			count += n / unix.SizeofInotifyEvent
		}
	}
}
