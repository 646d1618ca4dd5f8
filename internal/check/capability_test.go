package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/servers"
)

// The capability is told of while the file has it. The remedy leaves other capabilities, and the undo restores all.
func TestCapabilityLeft(t *testing.T) {
	if _, err := exec.LookPath("setcap"); err != nil {
		t.Fatal("setcap is missing; install it: apt-get install libcap2-bin")
	}
	host := lab.New(t).Host("host")
	m := lab.Mappings(t, "443:8443")[0]
	for _, c := range []struct {
		capabilities, remedy string
	}{
		{"cap_net_bind_service=ep", "sudo setcap -r "},
		{"cap_net_bind_service=ei", "sudo setcap -r "},
		{"cap_net_bind_service,cap_sys_boot=eip cap_net_raw=ei", "sudo setcap '22=eip cap_net_raw=ei' "},
		{"cap_net_raw=p", ""},
		{"", ""},
	} {
		t.Run(c.capabilities, func(t *testing.T) {
			sleep, err := exec.LookPath("sleep")
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(sleep)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "a server")
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path, "1000")
			host.Start(cmd)
			if c.capabilities != "" {
				host.Run("setcap", c.capabilities, path)
			}
			before := host.Run("getcap", path)
			look := func() []finding.Finding {
				s := servers.Server{PID: cmd.Process.Pid}
				return capabilityLeft(m, []servers.Server{s, s, {PID: 0}})
			}
			if c.remedy == "" {
				expect(t, look(), "", "")
				return
			}
			expect(t, look(), finding.CapabilityLeft, path+" has cap_net_bind_service")
			if got := look()[0].Remedy; got != c.remedy+"'"+path+"'" {
				t.Errorf("remedy %q", got)
			}
			cured(t, host, look)
			if after := host.Run("getcap", path); after != before {
				t.Errorf("%s is after remedy and undo %s", before, after)
			}
		})
	}
}
