package pinhole

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The setting is changed and changed back; without it, and where it is a comment, there are no commands.
func TestFirewalld(t *testing.T) {
	file := filepath.Join(t.TempDir(), "firewalld.conf")
	for _, content := range []string{"", "StrictForwardPorts=no\n", "# StrictForwardPorts=yes\n"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if c := Firewalld(file); c != (Commands{}) {
			t.Errorf("%q: %+v", content, c)
		}
	}
	const strict = "DefaultZone=public\nStrictForwardPorts=yes\n"
	if err := os.WriteFile(file, []byte(strict), 0o644); err != nil {
		t.Fatal(err)
	}
	c := Firewalld(file)
	for _, step := range []struct{ command, want string }{
		{c.Remedy, strings.Replace(strict, "yes", "no", 1)}, {c.Undo, strict},
	} {
		command := `sudo() { "$@"; }; firewall-cmd() { [ "$*" = --reload ]; }; ` + step.command
		if out, err := exec.Command("bash", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", step.command, err, out)
		}
		if content, _ := os.ReadFile(file); string(content) != step.want {
			t.Errorf("after %s: %q", step.command, content)
		}
	}
}
