package ipt

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a running program of iptables. What it reads and writes are files in memory: with pipes it would wait for
// us again and again.
type process struct {
	cmd                   *exec.Cmd
	script                script // what it is to do, if it changes something
	input, output, stderr *os.File
}

// start runs a program. It is in the network namespace of this thread. Its environment has nothing of ours:
// XTABLES_LIBDIR names a folder with code to load.
func start(ctx context.Context, path string, input []byte, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, path, args...)}
	err := errors.Join(inMemory(&p.input), inMemory(&p.output), inMemory(&p.stderr))
	if err == nil {
		_, err = p.input.WriteAt(input, 0)
	}
	if err == nil {
		p.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.input, p.output, p.stderr
		p.cmd.SysProcAttr = &syscall.SysProcAttr{
			Setpgid:   true,            // a ^C is for us: what was begun is seen through to its end
			Pdeathsig: syscall.SIGKILL, // and when we are killed, nothing comes after us
		}
		err = p.cmd.Start()
	}
	if err != nil {
		p.close()
		return nil, &Error{Command: filepath.Base(path), Why: err.Error(), cause: err}
	}
	return p, nil
}

func inMemory(file **os.File) error {
	fd, err := unix.MemfdCreate("iptables", unix.MFD_CLOEXEC)
	if err == nil {
		*file = os.NewFile(uintptr(fd), "iptables")
	}
	return err
}

func (p *process) close() {
	for _, f := range [...]*os.File{p.input, p.output, p.stderr} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// wait waits for the end, and returns what was printed.
func (p *process) wait() ([]byte, error) {
	defer p.close()
	end := p.cmd.Wait()
	output, err := content(p.output)
	if end == nil {
		return output, err
	}
	said, err := content(p.stderr)
	if err != nil {
		return nil, err
	}
	return nil, explain(filepath.Base(p.cmd.Path), string(said), p.script, end)
}

func content(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b, err
}

// result is what came of a program.
type result struct {
	output []byte
	err    error
}

// runAll runs programs side by side, each a path and its arguments, and waits for all of them; nil runs nothing.
func runAll(ctx context.Context, commands [][]string) []result {
	runtime.LockOSThread() // Pdeathsig looks at the thread, prctl(2)
	defer runtime.UnlockOSThread()
	running := make([]*process, len(commands))
	results := make([]result, len(commands))
	for i, c := range commands {
		if c != nil {
			running[i], results[i].err = start(ctx, c[0], nil, c[1:]...)
		}
	}
	for i, p := range running {
		if p != nil {
			results[i].output, results[i].err = p.wait()
		}
	}
	return results
}

// run starts a program and waits for it.
func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	return runScript(ctx, path, nil, nil, args...)
}

// runScript is run for a program that carries a script out; the input is its text, or nothing if the arguments say it
// all.
func runScript(ctx context.Context, path string, s script, input []byte, args ...string) ([]byte, error) {
	runtime.LockOSThread() // Pdeathsig looks at the thread, prctl(2)
	defer runtime.UnlockOSThread()
	p, err := start(ctx, path, input, args...)
	if err != nil {
		return nil, err
	}
	p.script = s
	return p.wait()
}
