package integration

import (
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// The demonstration of the guards holds what it says, for root and for an ordinary user, on the host of the tests.
func TestGuardsAreDemonstrated(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err, path)
	}
	for _, test := range []struct {
		name string
		cmd  *exec.Cmd
	}{
		{"as it is", exec.Command(path, "demo", "--guards")},
		{"unprivileged", lab.Unprivileged(exec.Command(path, "demo", "--guards"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.cmd.Dir = "/"
			out, err := test.cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "blocked") ||
				!strings.Contains(string(out), "It works on this machine") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
