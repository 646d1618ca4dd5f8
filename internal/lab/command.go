package lab

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Nobody is the uid and gid of an unprivileged user.
const Nobody = 65534

// packages maps a tool to its Debian package, for the message of a test whose tool is missing.
var packages = map[string]string{
	"nft": "nftables", "iptables": "iptables", "ip": "iproute2", "node": "nodejs", "curl": "curl",
	"conntrack": "conntrack",
	"unshare":   "util-linux", "systemd-analyze": "systemd",
}

// Need fails the test if a tool is missing.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("lab: %s is missing; install it: apt-get install %s", tool, packages[tool])
		}
	}
}

// Result is the result of a command.
type Result struct {
	Out, Err string
	Code     int
}

// Start starts a command on the host. It is killed at the end of the test.
func (h *Host) Start(cmd *exec.Cmd) {
	h.t.Helper()
	var err error
	h.Do(func() { err = cmd.Start() })
	h.must("start "+strings.Join(cmd.Args, " "), err)
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// Try runs a command on the host and returns its result.
func (h *Host) Try(name string, args ...string) Result {
	h.t.Helper()
	return h.TryCommand(exec.Command(name, args...))
}

// TryCommand is Try for a command with an environment, an input or a user of its own.
func (h *Host) TryCommand(cmd *exec.Cmd) Result {
	h.t.Helper()
	if cmd.Err != nil {
		Need(h.t, cmd.Args[0])
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	var err error
	h.Do(func() { err = cmd.Run() })
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.must("run "+strings.Join(cmd.Args, " "), err)
	}
	return Result{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Run runs a command on the host that must succeed, and returns its output.
func (h *Host) Run(name string, args ...string) string {
	h.t.Helper()
	r := h.Try(name, args...)
	if r.Code != 0 {
		h.t.Fatalf("lab: %s: %s %s: exit %d\n%s%s", h.Name, name, strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

// Unprivileged makes a command run as the user nobody. Without root there is only one user, who is unprivileged anyway.
func Unprivileged(cmd *exec.Cmd) *exec.Cmd {
	if uid := UnprivilegedUID(); uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// UnprivilegedUID returns the uid that Unprivileged commands have: 0 in a user namespace of one user.
func UnprivilegedUID() int {
	ids, err := os.ReadFile("/proc/self/uid_map") // first, first outside, how many: user_namespaces(7)
	if fields := strings.Fields(string(ids)); err == nil && len(fields) == 3 && fields[2] == "1" {
		return 0
	}
	return Nobody
}
