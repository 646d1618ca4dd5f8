package ipt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noteVariable names the file into which the program that is run writes its process id.
const noteVariable = "PORTMAP_IPT_NOTE"

// What iptables had begun ends with us when we are killed: it would else change rules that the next command has looked
// at.
func TestProgramsEndWithUs(t *testing.T) {
	if note := os.Getenv(noteVariable); note != "" {
		_,
			err := run(t.Context(), "/bin/sh", "-c",
			fmt.Sprintf("echo $$ >%[1]s.new && mv %[1]s.new %[1]s && exec sleep 300", note))
		t.Fatalf("it has ended: %v", err)
	}
	note := filepath.Join(t.TempDir(), "pid")
	us := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	us.Env = append(os.Environ(), noteVariable+"="+note)
	us.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := us.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	within(t, "the program to begin", func() bool {
		text, _ := os.ReadFile(note)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if err := errors.Join(us.Process.Kill(), ignoreExit(us.Wait())); err != nil {
		t.Fatal(err)
	}
	within(t, "the program to end", func() bool { return !sleeps(pid) })
}

// sleeps reports whether a process is there, and is still the program that was run, or about to be.
func sleeps(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // that of a zombie is empty
	return err == nil && strings.Contains(string(text), "sleep")
}

func ignoreExit(err error) error {
	if errors.As(err, new(*exec.ExitError)) {
		return nil
	}
	return err
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}
