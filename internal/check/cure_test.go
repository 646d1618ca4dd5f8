package check

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"

	"golang.org/x/sys/unix"
)

// The setting is changed and changed back; without it, and where it is a comment, there is no cure.
func TestFirewalldCure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "firewalld.conf")
	for _, content := range []string{"", "StrictForwardPorts=no\n", "# StrictForwardPorts=yes\n"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if c := firewalldCure(file); c != (cure{}) {
			t.Errorf("%q: %+v", content, c)
		}
	}
	const strict = "DefaultZone=public\nStrictForwardPorts=yes\n"
	if err := os.WriteFile(file, []byte(strict), 0o644); err != nil {
		t.Fatal(err)
	}
	c := firewalldCure(file)
	for _, step := range []struct{ command, want string }{
		{c.remedy, strings.Replace(strict, "yes", "no", 1)}, {c.undo, strict},
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

// A rule that drops both protocols in both families is one cause: each rule that lets pass is inserted once, and the
// undo finds each by a comment of its own.
func TestCuresOfOneCause(t *testing.T) {
	m := lab.Mappings(t, "443:8443/tcp,udp")[0]
	s := stop{family: unix.NFPROTO_INET, table: "filter", chain: "input", handle: 7, number: 1, at: 8443}
	var list []finding.Finding
	for _, to := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
		for _, protocol := range m.Protocols().Each() {
			w := &Way{Mapping: m, Protocol: protocol, To: netip.MustParseAddrPort(to)}
			c := cureFor(s, m, w)
			list = add(list, finding.Finding{ID: finding.RuleDrops, Text: "it drops", Remedy: c.remedy, Undo: c.undo})
		}
	}
	if len(list) != 1 {
		t.Fatalf("%d findings", len(list))
	}
	for _, text := range []string{list[0].Remedy, list[0].Undo} {
		if strings.Count(text, `"portmap 443/tcp"`) != 1 || strings.Count(text, `"portmap 443/udp"`) != 1 {
			t.Error(text)
		}
	}
}
