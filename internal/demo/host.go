package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// host makes the network and plays the script. It is the first process of its PID namespace.
func host(ctx context.Context, out io.Writer) error {
	if err := setUp(); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return fmt.Errorf("this system does not let users set up namespaces (%w); try: sudo portmap demo", err)
		}
		return err
	}
	client, err := startClient(ctx)
	if err != nil {
		return err
	}
	server, err := startServer(ctx)
	if err != nil {
		return err
	}
	s := &script{ctx: ctx, out: out, client: client, server: server}
	return s.play()
}

func setUp() error {
	if err := privateFiles(); err != nil {
		return err
	}
	return writeCertificate()
}

// peer is a process that answers lines with lines. It ends with the PID namespace at the latest.
type peer struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func (p peer) ask(line string) (string, error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return "", err
	}
	return p.read()
}

func (p peer) read() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s ended early: %w", p.cmd.Args[len(p.cmd.Args)-1], err)
	}
	return line[:len(line)-1], nil
}

func start(ctx context.Context, stage string, attr *syscall.SysProcAttr) (peer, error) {
	cmd := exec.CommandContext(ctx, self, "demo-stage", stage)
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return peer{}, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return peer{}, err
	}
	if err := cmd.Start(); err != nil {
		return peer{}, fmt.Errorf("start the %s: %w", stage, err)
	}
	return peer{cmd, in, bufio.NewReader(out)}, nil
}

// startClient starts the other host, in a network namespace of its own, and lays the cable.
func startClient(ctx context.Context) (peer, error) {
	client, err := start(ctx, stageClient, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	if err != nil {
		return peer{}, err
	}
	return client, connect(client.cmd)
}

// startServer starts the server from a thread that is not used again: it may have given up its capabilities.
func startServer(ctx context.Context) (server peer, err error) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		var attr *syscall.SysProcAttr
		if attr, err = unprivileged(); err == nil {
			server, err = start(ctx, stageServer, attr)
		}
		close(done)
	}()
	<-done
	return server, err
}
