package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the stages, as arguments of the hidden command.
const (
	stageHost     = "host"
	stageGuards   = "guards" // the host, with the script of that name
	stageServer   = "server"
	stageSquatter = "squatter"
	stageClient   = "client"
)

// Script is what the demonstration shows.
type Script string

// The scripts.
const (
	Mapping Script = stageHost   // a mapping, until it is removed
	Guards  Script = stageGuards // --owner and --hide: a squatter on the target port gets no byte out
)

// within bounds the whole demonstration, which takes a second or two at most.
const within = time.Minute

// self is this program, even where its path is hidden by a mount.
const self = "/proc/self/exe"

// Run shows a script on out. It needs no root where user namespaces are allowed; where they are not, the error
// is [io/fs.ErrPermission]. It is the context's error when that ended first. This program must answer the hidden
// command `demo-stage NAME` by [Stage], and `add`, `list` and `remove` as itself.
func Run(ctx context.Context, out io.Writer, name Script) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	cmd := hostCommand(ctx, out, name)
	// Kept open, and by nobody else, as long as this process lives: the stage ends when it reads the end of it.
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer alive.Close()
	result, child, err := os.Pipe()
	if err != nil {
		return err
	}
	defer result.Close()
	cmd.ExtraFiles = []*os.File{child} // resultFD
	runtime.LockOSThread()             // Pdeathsig is sent when the thread that started the child ends, prctl(2)
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	child.Close()
	if err != nil {
		return refused(err)
	}
	ended := readResult(result)
	return outcome(ctx.Err(), ended, cmd.Wait())
}

// hostCommand is the first process in namespaces of its own. Its session is its own too, so that Ctrl-C comes here
// alone and what is interrupted does not complain.
func hostCommand(ctx context.Context, out io.Writer, name Script) *exec.Cmd {
	cmd := exec.CommandContext(ctx, self, "demo-stage", string(name))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = namespaces(name)
	// The connection by which this is typed does not lead into the demonstration, and cannot be cut by it.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "SSH_") })
	return cmd
}

// namespaces has a PID namespace, so that everything ends with its first process, and without root a user namespace, in
// which this user is who it was but may build networks. A root without other users becomes nobody there for the guards,
// because root may always answer.
func namespaces(name Script) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	uid := os.Geteuid()
	inside := uid
	if uid == 0 && name == Guards && serverUser() == nil {
		inside = nobody
	}
	if inside != 0 {
		gid := os.Getegid()
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		const forLegacy = unix.CAP_NET_RAW // iptables-legacy works through raw sockets
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, forLegacy}
	}
	return attr
}

// resultFD is where the first stage writes its result: os/exec gives the first extra file this number.
const resultFD = 3

// result is how the first stage ended. The zero value is what is read of one that was killed.
type result struct {
	Done   bool   // it came to its end
	Why    string // it failed; empty when all was well
	Denied bool   // for lack of permission
}

func (r result) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%t %t %q\n", r.Done, r.Denied, r.Why)
	return err
}

func readResult(r io.Reader) (ended result) {
	var read result
	if n, _ := fmt.Fscanf(r, "%t %t %q\n", &read.Done, &read.Denied, &read.Why); n == 3 {
		return read
	}
	return ended // nothing there: the zero value tells
}

// outcome is what Run returns: of several reasons the first.
func outcome(interrupted error, ended result, exit error) error {
	switch {
	case errors.Is(interrupted, context.DeadlineExceeded):
		return fmt.Errorf("stopped before it was done: %w", interrupted)
	case interrupted != nil:
		return interrupted
	case ended.Denied:
		return denied{ended.Why}
	case ended.Why != "":
		return errors.New(ended.Why)
	case exit != nil:
		return fmt.Errorf("ended early: %w", exit)
	case !ended.Done:
		return errors.New("ended early")
	}
	return nil
}

// Stage runs one of the processes of the demonstration, which none but [Run] should start: "host", "guards",
// "server", "squatter" or "client".
func Stage(ctx context.Context, name string) error {
	switch {
	case (name == stageHost || name == stageGuards) && os.Getpid() == 1:
		return beHost(ctx, Script(name))
	case name == stageServer && os.Getppid() == 1:
		return serve(os.Stdout, serverName)
	case name == stageSquatter && os.Getppid() == 1:
		return serve(os.Stdout, squatterName)
	case name == stageClient && os.Getppid() == 1:
		return beClient(os.Stdin, os.Stdout)
	}
	return errNotByRun
}
