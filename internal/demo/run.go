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
	"time"

	"golang.org/x/sys/unix"
)

// Names of the stages, as arguments of the hidden command.
const (
	stageHost   = "host"
	stageServer = "server"
	stageClient = "client"
)

// within bounds the whole demonstration, which takes a second.
const within = time.Minute

// self is this program, even where its path is hidden by a mount.
const self = "/proc/self/exe"

// Run shows the demonstration on out. It needs no root where user namespaces are allowed.
func Run(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "demo-stage", stageHost)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = namespaces()
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started the child ends, prctl(2)
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err != nil {
		return refused(err)
	}
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		return errors.New("it did not go as it should; the lines above tell where")
	default:
		return err
	}
}

// namespaces has a PID namespace, so that everything ends with its first process, and without root a user namespace, in
// which this user is who it was but may build networks.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid := os.Geteuid(); uid != 0 {
		gid := os.Getegid()
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN}
	}
	return attr
}

func refused(err error) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
		return errors.New("this system does not let users make namespaces; try: sudo portmap demo")
	}
	return fmt.Errorf("make a user namespace: %w", err)
}

// Stage runs one of the processes of the demonstration.
func Stage(ctx context.Context, name string) error {
	switch name {
	case stageHost:
		return host(ctx, os.Stdout)
	case stageServer:
		return serve(os.Stdout)
	case stageClient:
		return beClient(os.Stdin, os.Stdout)
	}
	return fmt.Errorf("no stage %q", name)
}
