package shell

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// sh splits a joined line into the original words.
func TestJoin(t *testing.T) {
	words := []string{"/etc/portmap/portmap.conf", "a b", "it's", "", "$HOME", "[::1]:443:8443", "443:8443/tcp", "*",
		"a\nb", "~"}
	out, err := exec.Command("sh", "-c", `printf '%s\0' `+Join(words...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
		t.Errorf("sh makes %q of %s", got, Join(words...))
	}
	if got := Join("portmap", "--config", "/etc/a.conf", "add", "443:8443/tcp"); strings.Contains(got, "'") {
		t.Errorf("%s is quoted without need", got)
	}
}
