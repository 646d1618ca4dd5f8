//go:build boot

package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Packages of commits sort by time, whatever the names of the commits are, and before each release.
func TestVersionsOfCommits(t *testing.T) {
	script, err := filepath.Abs("../../packaging/version.sh")
	must(t, err)
	dir := t.TempDir()
	version := func(name, date string) string {
		t.Helper()
		commit := exec.Command("sh", "-ec", "git init -q .; git -c user.name=x -c user.email=x@x.invalid commit -q "+
			"--allow-empty -m x; "+script+" "+name)
		commit.Dir = dir
		commit.Env = append(os.Environ(), "GIT_COMMITTER_DATE="+date, "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := commit.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	list := []string{
		version("fedcba", "2026-11-24T23:30:00+0000"), version("0bcdef", "2026-11-24T23:59:00+0000"),
		version("9abcde", "2026-11-25T01:00:00+0100"), version("1abcde-dirty", "2026-11-25T12:00:00+0000"),
		version("v0.1.0-rc1", "2026-11-26T12:00:00+0000"), version("v0.1.0", "2026-11-26T12:00:00+0000"),
		version("v0.1.0-3-gabcdef", "2026-11-26T12:00:00+0000"),
	}
	want := []string{"0.0.0~git20261124.1.fedcba", "0.0.0~git20261124.2.0bcdef", "0.0.0~git20261125.1.9abcde",
		"0.0.0~git20261125.2.1abcde+dirty", "0.1.0~rc1", "0.1.0", "0.1.0+3+gabcdef"}
	for i := range list {
		if list[i] != want[i] {
			t.Errorf("%s, want %s", list[i], want[i])
		}
		if i == 0 {
			continue
		}
		older, newer := list[i-1], list[i]
		if out, err := exec.Command("dpkg", "--compare-versions", older, "lt", newer).CombinedOutput(); err != nil {
			t.Errorf("dpkg: %s is not before %s: %s", older, newer, out)
		}
		lua := `%{lua: print(rpm.vercmp("` + older + `", "` + newer + `"))}`
		out, err := exec.Command("rpm", "--eval", lua).Output()
		if err != nil || strings.TrimSpace(string(out)) != "-1" {
			t.Errorf("rpm: %s is not before %s: %s, %v", older, newer, out, err)
		}
	}
}
