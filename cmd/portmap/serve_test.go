package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// listener is the program behind the servers of transcripts.
const listener = "portmap-listener"

// listen is a server with a name: it listens on the TCP addresses, says so, and stays. With a name such as nc@1234 the
// sockets are that user's, who needs no account.
func listen() {
	if err := listenAs(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	select {}
}

func listenAs(name string, addresses []string) error {
	name, user, other := strings.Cut(name, "@")
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil { // what others see, proc(5)
		return err
	}
	if uid, err := strconv.Atoi(user); other && err == nil {
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(uid); err != nil { // credentials(7): of this thread
			return err
		}
	}
	for _, address := range addresses {
		network := "tcp" // on [::] it listens for IPv4, too
		if addr, err := netip.ParseAddrPort(address); err == nil && addr.Addr().Is4() {
			network = "tcp4"
		}
		if _, err := net.Listen(network, address); err != nil {
			return err
		}
	}
	return nil
}

// serve starts a server, which ends with the transcript.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(listener, args...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	ts.Defer(end)
	ts.Value(listener).(map[string]func())[args[0]] = end
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		ts.Fatalf("serve %v: %s", args, line)
	}
}

func stop(ts *testscript.TestScript, _ bool, args []string) {
	ts.Value(listener).(map[string]func())[args[0]]()
}
