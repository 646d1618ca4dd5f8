package watch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"portmap/internal/reconcile"
)

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
		m := &HostRepairer{}
		m.refuse(c.refused, &reconcile.EmptyError{})
		if got := m.stillRefused(c.now) != nil; got != c.want {
			t.Errorf("%s: still refused: %t, want %t", c.what, got, c.want)
		}
	}
	m := &HostRepairer{}
	if m.refuse(first, errors.New("no memory")); m.stillRefused(first) != nil {
		t.Error("another error has it refused")
	}
}
