package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/internal/reconcile"
	"portmap/internal/store"
	"portmap/rules"
)

// held is a packet filter that holds some mappings.
type held struct {
	rules.Backend
	live rules.Live
}

func (h held) Live(context.Context) (rules.Live, error) { return h.live, nil }

func (h held) Temporary(context.Context) ([]rules.Mapping, error) { return nil, nil }

// Why temporary mappings are gone: what was to stay and went, or stayed, tells; where nothing was to stay, nobody knows.
func TestWhyTheyAreGone(t *testing.T) {
	const before = "443:8443\n80:8080\n"
	for _, c := range []struct {
		what    string
		file    string // what it says now
		first   bool   // it is the first look: what the file said before is not known
		live    []string
		damaged string
		want    witness
	}{
		{"no edit, all went", before, false, nil, "", goneWithThem},
		{"no edit, one went", before, false, []string{"443:8443"}, "", goneWithThem},
		{"no edit, the rules are damaged", before, false, nil, "a rule is gone", goneWithThem},
		{"the first look, all went", before, true, nil, "", goneWithThem},
		{"one is new, and one of the others went", before + "81:8081\n", false, []string{"443:8443"}, "", goneWithThem},
		{"one is new, and the others stay", before + "81:8081\n", false, []string{"443:8443", "80:8080"}, "", stillThere},
		{"one is out, and the other stays", "443:8443\n", false, []string{"443:8443", "80:8080"}, "", stillThere},
		{"all are new, and those before are there", "81:8081\n", false, []string{"443:8443", "80:8080"}, "", noWitness},
		{"all are new, and those before went", "81:8081\n", false, nil, "", noWitness},
		{"all are new, and the rules are damaged", "81:8081\n", false, nil, "a rule is gone", goneWithThem},
	} {
		kernel := held{live: rules.Live{Damaged: c.damaged}}
		for _, line := range c.live {
			kernel.live.Mappings = append(kernel.live.Mappings, rules.LiveMapping{Mapping: lab.Mappings(t, line)[0]})
		}
		h := &reconcile.Host{
			File: store.At(filepath.Join(t.TempDir(), "portmap.conf")),
			Open: func(context.Context, string, bool) (rules.Backend, error) { return kernel, nil },
		}
		m := NewMender(h)
		if !c.first {
			m.good = []byte(before)
		}
		d, err := h.Diff(t.Context(), &reconcile.Content{Name: h.File.Path, Bytes: []byte(c.file)})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.flushed(t.Context(), d, &Healed{Edited: c.file != before}); got != c.want {
			t.Errorf("%s: witness %d, want %d", c.what, got, c.want)
		}
	}
}

// A file that was refused because it has no mapping stays refused until it is written again.
func TestRefusedUntilWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portmap.conf")
	long := time.Now().Add(-time.Hour)
	write := func(path string, at time.Time) os.FileInfo {
		if err := errors.Join(os.WriteFile(path, []byte("# nothing\n"), 0o644), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
		file, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	first := write(path, long)
	again := write(path, long.Add(time.Second))
	another := write(path+".new", long)
	for _, c := range []struct {
		what         string
		refused, now os.FileInfo
		want         bool
	}{
		{"nothing was done", first, first, true},
		{"it was written again", first, again, false},
		{"it was replaced", first, another, false},
		{"it was removed", first, nil, false},
		{"it is still missing", nil, nil, true},
		{"it was made", nil, first, false},
	} {
		m := &Mender{}
		m.refuse(c.refused, &reconcile.EmptyError{})
		if got := m.stillRefused(c.now) != nil; got != c.want {
			t.Errorf("%s: still refused: %t, want %t", c.what, got, c.want)
		}
	}
	m := &Mender{}
	if m.refuse(first, errors.New("no memory")); m.stillRefused(first) != nil {
		t.Error("another error has it refused")
	}
}
