package demo

import (
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

// beHost is the first process of its PID namespace. What it ends with it tells Run, whose error it is.
func beHost(ctx context.Context, name Script) error {
	syscall.CloseOnExec(resultFD)
	go func() { // Pdeathsig alone leaves a gap between the birth of this process and its prctl(2)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ended := result{Done: true}
	if err := host(ctx, os.Stdout, name); err != nil {
		ended.Why, ended.Denied = err.Error(), errors.As(err, new(denied))
	}
	return ended.write(os.NewFile(resultFD, "result"))
}

var errNotByRun = errors.New("this is a part of `portmap demo`: try that")

// host makes the network and plays the script.
func host(ctx context.Context, out io.Writer, name Script) error {
	if err := newNetwork(); err != nil {
		return err
	}
	if err := privateFiles(); err != nil {
		return refused(err)
	}
	if err := writeCertificate(); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	client, err := startClient(ctx)
	if err != nil {
		return err
	}
	server, err := startServer(ctx, stageServer, serverUser())
	if err != nil {
		return err
	}
	s := &script{ctx: ctx, out: out, client: client, server: server}
	return s.play(name)
}

// startClient starts the other host, in a network namespace of its own, and lays the cable.
func startClient(ctx context.Context) (peer, error) {
	client, err := start(ctx, stageClient, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
	if err != nil {
		return peer{}, err
	}
	return client, connect(client.cmd)
}

// startServer starts a server as user, nil for the one of this process, from a thread that is not used again: it has
// given up its privileges.
func startServer(ctx context.Context, stage string, user *syscall.Credential) (server peer, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		attr := &syscall.SysProcAttr{Credential: user}
		if err = giveUpPrivileges(attr.Credential != nil); err == nil {
			server, err = start(ctx, stage, attr)
		}
	}()
	<-done
	return server, err
}

// start starts a stage. It ends with the PID namespace at the latest.
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
	return newPeer(stage, cmd, in, out), nil
}
