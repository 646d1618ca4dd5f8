package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"portmap/internal/lab"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	programs := map[string]func(){program: main, listener: listen}
	if programs[filepath.Base(os.Args[0])] == nil {
		lab.Enter()
		nobodyBoots()
	}
	testscript.Main(m, programs)
}

// nobodyBoots hides a running systemd, in our own mount namespace: what is said of the next boot is none of the
// transcripts'.
func nobodyBoots() {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return
	}
	if err := unix.Mount("tmpfs", "/run/systemd", "tmpfs", 0, ""); err != nil {
		panic(err)
	}
}

// program is the name under which transcripts find the command: `portmap` is their word for it with a file.
const program = "portmap-program"

// Each transcript in testdata has a network namespace and a file of its own. In it,
//
//	portmap ARGS...         runs the command with --config portmap.conf; ! portmap where it must fail
//	code N portmap ARGS...  is the same, and must exit with N
//	code N PROGRAM ARGS...  runs any program
//	serve NAME ADDRESS...   starts a server of this name that listens on the TCP addresses; NAME@UID is that of a
//	                        user; stop NAME ends it
//	valid SCHEMA            the last standard output is as a JSON schema of docs says
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: ownNetwork,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"portmap": runPortmap, "code": runCode,
			"serve": serve, "stop": stop, "valid": valid},
	})
}

// ownNetwork puts the transcript's thread, and so what it starts, into a new network namespace with loopback alone.
func ownNetwork(env *testscript.Env) error {
	env.Values[listener] = map[string]func(){}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else the race detector makes each run of the command last a second
	runtime.LockOSThread()                    // and never unlocked: the thread ends with the transcript
	ns, err := netns.New()
	if err != nil {
		return err
	}
	defer ns.Close()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func words(args []string) []string {
	if args[0] == "portmap" {
		return slices.Concat([]string{program, "--config", "portmap.conf"}, args[1:])
	}
	return args
}

func runPortmap(ts *testscript.TestScript, fails bool, args []string) {
	line := words(append([]string{"portmap"}, args...))
	if err := ts.Exec(line[0], line[1:]...); (err != nil) != fails {
		ts.Fatalf("%v: %v", line, err)
	}
}

func runCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	line := words(args[1:])
	err = ts.Exec(line[0], line[1:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v: %v", line, err)
	}
	if got != want {
		ts.Fatalf("%v: exit %d, want %d", line, got, want)
	}
}
