package demo

import (
	"context"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// However the demonstration ends, nothing of it is left.
func TestInterrupted(t *testing.T) {
	for _, user := range users() {
		for _, test := range []struct {
			name   string
			signal unix.Signal
			group  bool // to all of the terminal, as Ctrl-C goes
			stop   bool // the first stage cannot do a thing about it
			err    string
		}{
			{"Ctrl-C", unix.SIGINT, true, false, "portmap: context canceled\n"},
			{"interrupted", unix.SIGINT, false, false, "portmap: context canceled\n"},
			{"terminated", unix.SIGTERM, false, false, "portmap: context canceled\n"},
			{"terminal gone", unix.SIGHUP, true, false, "portmap: context canceled\n"},
			{"killed", unix.SIGKILL, false, false, ""},
			{"killed when stopped", unix.SIGKILL, false, true, ""},
		} {
			t.Run(test.name+", "+user.name, func(t *testing.T) {
				r := command(t, user.attr(), "list hangs", "demo")
				r.SysProcAttr.Setpgid = true
				mark := newMark(t)
				r.Env = append(r.Env, mark.name+"=")
				if err := r.Start(); err != nil {
					t.Fatal(err)
				}
				mark.wait(t, stages+1) // and Run
				namespaces := mark.namespaces(t)
				if test.stop {
					mark.stop(t, r.Process.Pid)
				}
				target := r.Process.Pid
				if test.group {
					target = -target
				}
				if err := unix.Kill(target, test.signal); err != nil {
					t.Fatal(err)
				}
				_ = r.Wait()
				if r.err.String() != test.err {
					t.Errorf("standard error %q, want %q", &r.err, test.err)
				}
				mark.mustBeGone(t, namespaces)
			})
		}
	}
}

// The death of Run must be noticed even where the signal of it is lost.
func TestOrphan(t *testing.T) {
	mark := newMark(t)
	t.Setenv(faultVariable, "list hangs")
	t.Setenv(mark.name, "")
	cmd := hostCommand(context.Background(), io.Discard, Mapping)
	cmd.SysProcAttr.Pdeathsig = 0
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd.ExtraFiles = []*os.File{null}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	mark.wait(t, stages)
	namespaces := mark.namespaces(t)
	if err := alive.Close(); err != nil {
		t.Fatal(err)
	}
	mark.wait(t, 0)
	_ = cmd.Wait()
	mark.mustBeGone(t, namespaces)
}
