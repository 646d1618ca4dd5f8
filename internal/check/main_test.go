package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }

// put writes files below a folder, which it returns.
func put(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// expect fails unless there is one finding with an ID, or none for no ID.
func expect(t *testing.T, got []finding.Finding, id finding.ID, says string) {
	t.Helper()
	switch {
	case id == "" && len(got) > 0:
		t.Errorf("%+v, want nothing", got)
	case id != "" && (len(got) != 1 || got[0].ID != id || !strings.Contains(got[0].Text, says)):
		t.Errorf("%+v, want %s with %q", got, id, says)
	}
}

// paste types a command on a host, as root: without sudo.
func paste(t *testing.T, h *lab.Host, command string) {
	t.Helper()
	if command == "" {
		t.Fatal("there is no command to paste")
	}
	h.Run("sh", "-c", strings.ReplaceAll(command, "sudo ", ""))
}

// cured types the remedy of a finding, which must be gone then, and its undo, by which it must come back.
func cured(t *testing.T, h *lab.Host, look func() []finding.Finding) {
	t.Helper()
	var found, after, again []finding.Finding
	h.Do(func() { found = look() })
	if len(found) != 1 {
		t.Fatalf("%+v, want one", found)
	}
	paste(t, h, found[0].Remedy)
	h.Do(func() { after = look() })
	paste(t, h, found[0].Undo)
	h.Do(func() { again = look() })
	if len(after) > 0 || len(again) != 1 || again[0] != found[0] {
		t.Errorf("%+v\nafter the remedy %+v\nafter its undo %+v", found[0], after, again)
	}
}
