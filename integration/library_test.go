package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// The README's module is built as it stands there, beside a checkout, and its program puts its mappings into the
// kernel.
func TestLibrary(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	module, program := sample(t, string(readme), "module example"), sample(t, string(readme), "package main")

	folder := filepath.Join(t.TempDir(), "example")
	for name, content := range map[string]string{"go.mod": module, "main.go": program, "go.sum": string(sums)} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(root, filepath.Join(folder, "..", "portmap")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "."}, {"build", "-o", "example", "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod -buildvcs=false")
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}

	host := lab.New(t).Host("host")
	const want = "80:8080/tcp 0\n443:8443/tcp,udp --name shop 0\n"
	for range 2 { // adding what is there already succeeds
		if got := host.Run(filepath.Join(folder, "example")); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("the program prints %q, want %q", got, want)
		}
	}
	if got := host.Ruleset(); !strings.Contains(got, "443:8443/tcp,udp --name shop") {
		t.Errorf("the kernel has\n%s", got)
	}
}

// sample returns the sample of a text that begins with a line: what is indented by four spaces.
func sample(t *testing.T, text, first string) string {
	t.Helper()
	const indent = "    "
	_, rest, found := strings.Cut(text, "\n"+indent+first+"\n")
	if !found {
		t.Fatalf("no sample begins with %q", first)
	}
	lines := []string{first}
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		inside, indented := strings.CutPrefix(line, indent)
		if line != "" && !indented {
			break
		}
		lines = append(lines, inside)
	}
	return strings.Join(lines, "\n") + "\n"
}
