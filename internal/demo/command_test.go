package demo

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// user is a kind of user who runs the demonstration.
type user struct {
	name string
	attr func() *syscall.SysProcAttr
}

// users has every kind there is for who runs the tests: without root nobody can play root.
func users() []user {
	all := []user{
		{"an ordinary user", func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Credential: ordinary()} }},
		{"the root of one user", func() *syscall.SysProcAttr {
			return &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
		}},
	}
	if os.Geteuid() == 0 && serverUser() != nil {
		all = append(all, user{"root", func() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }})
	}
	return all
}

// ordinary is nobody, or nil where who runs the tests is an ordinary user already.
func ordinary() *syscall.Credential { return serverUser() }

// sandboxed is an ordinary user with one capability in a user namespace of its own.
func sandboxed(capability uintptr) *syscall.SysProcAttr {
	uid, gid := os.Getuid(), os.Getgid()
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, AmbientCaps: []uintptr{capability}}
	if user := ordinary(); user != nil {
		uid, gid = nobody, nobody
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	return attr
}

// run is a run of the stand-in.
type run struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func command(t *testing.T, attr *syscall.SysProcAttr, fault string, args ...string) *run {
	t.Helper()
	r := &run{Cmd: exec.Command(self, args...)}
	r.SysProcAttr, r.Stdout, r.Stderr = attr, &r.out, &r.err
	r.Dir = "/"
	r.Env = append(os.Environ(), faultVariable+"="+fault, "SSH_CONNECTION=198.51.100.1 50000 192.0.2.1 443",
		"GORACE=atexit_sleep_ms=0") // of a second at the end of each of many processes
	r.WaitDelay = patience
	return r
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// demonstrate runs the demonstration to its end and returns the exit code.
func demonstrate(t *testing.T, attr *syscall.SysProcAttr, fault string, args ...string) (*run, int) {
	t.Helper()
	r := command(t, attr, fault, args...)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(patience, func() { _ = r.Process.Kill() })
	defer stop.Stop()
	_ = r.Wait()
	return r, r.ProcessState.ExitCode()
}

// lines returns what was printed, without empty lines.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}
