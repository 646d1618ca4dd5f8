package integration

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// flusher is a tool that takes everything out of the kernel.
type flusher struct {
	name  string
	flush []string
	loop  string // the same, again and again, as fast as it goes
}

func (b backend) flusher() flusher {
	if b.name == "nft" {
		return flusher{"nft", []string{"nft", "flush", "ruleset"}, "while :; do nft flush ruleset; done"}
	}
	both := fmt.Sprintf("%s -t nat -F; %s -t nat -F", b.tools[0], b.tools[1])
	return flusher{b.name, []string{"sh", "-c", both}, "while :; do " + both + "; done"}
}

// watching is `portmap watch` on a host.
type watching struct {
	portmap
	process  *exec.Cmd
	log      *output
	patience time.Duration // with what must come; how soon is for others to judge
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// watch starts the command, and waits until it has applied the file.
func (p portmap) watch(flags ...string) watching {
	p.t.Helper()
	w := watching{p, p.cmd(append([]string{"watch"}, flags...)...), &output{}, 5 * time.Second}
	w.process.Stderr = w.log
	p.host.Start(w.process)
	w.says("portmap: watching")
	return w
}

// within waits for something that must come.
func (w watching) within(what string, come func() bool) {
	w.t.Helper()
	for end := time.Now().Add(w.patience); !come(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s; the log is\n%s", what, w.patience, w.log)
		}
	}
}

func (w watching) says(line string) {
	w.t.Helper()
	w.within(fmt.Sprintf("to say %q", line), func() bool { return strings.Contains(w.log.String(), line) })
}

// live waits until the kernel holds what the lines say, and nothing else of ours. It keeps one socket for all looks: to
// close one takes longer than to heal.
func (w watching) live(b backend, lines ...string) {
	w.t.Helper()
	pause := time.Millisecond
	if b.name != "nft" { // a look takes programs
		pause = 20 * time.Millisecond
	}
	b.with(w.t, w.host, func(k rules.Backend) error {
		var live rules.Live
		var err error
		for end := time.Now().Add(w.patience); time.Now().Before(end) && err == nil; time.Sleep(pause) {
			if live, err = k.Live(context.Background()); texts(live) == strings.Join(lines, "\n") {
				return err
			}
		}
		w.t.Errorf("live are, after %s,\n%s\nand the log is\n%s", w.patience, texts(live), w.log)
		return err
	})
}

// ends sends a signal, and returns the exit code.
func (w watching) ends(signal os.Signal) int {
	w.t.Helper()
	if err := w.process.Process.Signal(signal); err != nil {
		w.t.Fatal(err)
	}
	_ = w.process.Wait()
	return w.process.ProcessState.ExitCode()
}

// cpu returns what the process has used so far, without the programs that it ran: by its clock, whose number the kernel
// makes from the PID (clock_getcpuclockid(3); CPUCLOCK_SCHED in kernel/time/posix-cpu-timers.c).
func (w watching) cpu() time.Duration {
	w.t.Helper()
	const sched = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^w.process.Process.Pid<<3|sched), &used); err != nil {
		w.t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// eachFlusher runs a test over all backends, one after the other: how soon watch puts back what is gone is measured.
func eachFlusher(t *testing.T, test func(*testing.T, backend, flusher)) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) { test(t, b, b.flusher()) })
	}
}

// flushAndTime returns how long after the end of the flush everything is back.
func flushAndTime(w watching, b backend, f flusher, want []string) time.Duration {
	w.t.Helper()
	w.host.Run(f.flush[0], f.flush[1:]...)
	start := time.Now()
	w.live(b, want...)
	return time.Since(start)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// supervise listens as a service manager does.
func supervise(t *testing.T, path string) <-chan string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	told := make(chan string, 1000)
	go func() {
		defer close(told)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			told <- string(buffer[:n])
		}
	}()
	return told
}

func waitFor(told <-chan string, want string) bool {
	end := time.After(5 * time.Second)
	for {
		select {
		case text := <-told:
			if slices.Contains(strings.Split(text, "\n"), want) {
				return true
			}
		case <-end:
			return false
		}
	}
}
