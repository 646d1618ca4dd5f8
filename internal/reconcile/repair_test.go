package reconcile

import (
	"path/filepath"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/rundir"
	"portmap/rules"
)

// Why temporary mappings are gone: what was to stay and went, or stayed, tells; where nothing was to stay, nobody
// knows.
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
		{"one is new, and the others stay", before + "81:8081\n", false, []string{"443:8443", "80:8080"}, "",
			stillThere},
		{"one is out, and the other stays", "443:8443\n", false, []string{"443:8443", "80:8080"}, "", stillThere},
		{"all are new, and those before are there", "81:8081\n", false, []string{"443:8443", "80:8080"}, "", noWitness},
		{"all are new, and those before went", "81:8081\n", false, nil, "", noWitness},
		{"all are new, and the rules are damaged", "81:8081\n", false, nil, "a rule is gone", goneWithThem},
	} {
		h, kernel := host(t)
		kernel.live.Damaged = c.damaged
		for _, line := range c.live {
			kernel.live.Mappings = append(kernel.live.Mappings, rules.LiveMapping{Mapping: lab.Mappings(t, line)[0]})
		}
		var good []byte
		if !c.first {
			good = []byte(before)
		}
		d, err := h.Diff(t.Context(), &Content{Name: h.File.Path, Bytes: []byte(c.file)})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := h.witness(t.Context(), d, c.file != before, good); err != nil || got != c.want {
			t.Errorf("%s: witness %d, %v, want %d", c.what, got, err, c.want)
		}
	}
}

// What a repair says of another file it says once, though it looks twice.
func TestRepairWarnsOnce(t *testing.T) {
	h, kernel := host(t)
	h.Run = rundir.At(filepath.Join(t.TempDir(), "run"))
	h.mustAdd(t, "443:8443")
	unreadable := t.TempDir() // a folder in the place of a file
	if err := h.Run.AddFile(unreadable); err != nil {
		t.Fatal(err)
	}
	kernel.live = rules.Live{}
	read, err := h.ReadFile()
	if err != nil {
		t.Fatal(err)
	}
	repaired, err := h.Repair(t.Context(), RepairOptions{Read: read, Seen: read.Content, Good: read.Content})
	if err != nil || len(repaired.Outcomes) != 1 {
		t.Fatalf("%+v, %v", repaired, err)
	}
	if len(repaired.Warnings) != 1 || repaired.Warnings[0].ID != finding.OtherFileUnreadable {
		t.Errorf("warnings are %v", repaired.Warnings)
	}
}
