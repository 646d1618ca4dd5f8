package ipt

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// process is a program of iptables at work.
type process struct {
	cmd            *exec.Cmd
	input          []byte
	output, errors bytes.Buffer
}

// start runs a program. It and its children are in the network namespace of this thread. Its environment has nothing of
// ours: XTABLES_LIBDIR names a folder with code to load.
func start(ctx context.Context, path string, input []byte, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, path, args...), input: input}
	p.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = bytes.NewReader(input), &p.output, &p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // a ^C is for us: what was begun is seen through to its end
		Pdeathsig: syscall.SIGKILL, // and when we are killed, nothing comes after us
	}
	if err := p.cmd.Start(); err != nil {
		return nil, &Error{Command: filepath.Base(path), Why: err.Error(), cause: err}
	}
	return p, nil
}

// wait waits for the end, and returns what was printed.
func (p *process) wait() ([]byte, error) {
	err := p.cmd.Wait()
	if err == nil {
		return p.output.Bytes(), nil
	}
	return nil, explain(filepath.Base(p.cmd.Path), p.errors.String(), p.input, err)
}

// run starts a program and waits for it.
func run(ctx context.Context, path string, input []byte, args ...string) ([]byte, error) {
	runtime.LockOSThread() // Pdeathsig looks at the thread, prctl(2)
	defer runtime.UnlockOSThread()
	p, err := start(ctx, path, input, args...)
	if err != nil {
		return nil, err
	}
	return p.wait()
}
