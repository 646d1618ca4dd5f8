package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/rundir"
)

// asleep runs something while the watch does not look: what happens then is one moment to it.
func (w watching) asleep(do func()) {
	w.t.Helper()
	signal := func(s syscall.Signal) {
		if err := w.process.Process.Signal(s); err != nil {
			w.t.Fatal(err)
		}
	}
	defer signal(syscall.SIGCONT)
	w.within("the watch to stop without the lock, which commands need", func() bool {
		signal(syscall.SIGSTOP)
		w.within("the watch to stop", w.stopped)
		if w.waits() {
			signal(syscall.SIGCONT)
			return false
		}
		return true
	})
	do()
}

// stopped reports whether each thread of the watch is stopped, which takes a moment after the signal.
func (w watching) stopped() bool {
	threads, _ := filepath.Glob("/proc/" + strconv.Itoa(w.process.Process.Pid) + "/task/*/status")
	return len(threads) > 0 && !slices.ContainsFunc(threads, func(status string) bool {
		text, err := os.ReadFile(status)
		return err == nil && !strings.Contains(string(text), "State:\tT")
	})
}

// Temporary mappings that were flushed in the moment of an edit come back; those that were removed in it do not.
func TestWatchTellsFlushedFromRemoved(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		p.run("add", "70:7070", "--temporary")
		w := p.watch()

		w.asleep(func() {
			write(t, p.file, b.line()+"443:8443\n80:8080\n")
			host.Run(f.flush[0], f.flush[1:]...)
		})
		w.live(b, "70:7070/tcp --temporary", "80:8080/tcp", "443:8443/tcp")

		w.asleep(func() {
			p.run("remove", "70")
			write(t, p.file, b.line()+"443:8443\n81:8081\n")
		})
		w.live(b, "81:8081/tcp", "443:8443/tcp")

		if b.name != "nft" {
			return // a flush leaves the chains of iptables: it is known that they were emptied
		}
		p.run("add", "70:7070", "--temporary")
		w.within("the kernel to be as the file says", func() bool { return p.try("diff").Code == 0 })
		w.asleep(func() { // no mapping that stays could tell
			write(t, p.file, b.line()+"90:9090\n")
			host.Run(f.flush[0], f.flush[1:]...)
		})
		w.live(b, "90:9090/tcp")
		w.says("temporary mappings are gone, and it cannot be known who took them: 70:7070/tcp --temporary\n")
	})
}

// A file that has become empty, or is gone, takes nothing away.
func TestWatchKeepsMappingsOfAnEmptiedFile(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		w := p.watch()
		write(t, p.file, b.line()+"# nothing\n")
		w.says(p.file + " has no mapping, and 1 mapping is in place\n" +
			"  nothing was removed; to remove all of them: sudo portmap --config " + p.file + " remove --all\n")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:8443/tcp")
		if err := os.Remove(p.file); err != nil {
			t.Fatal(err)
		}
		w.says(p.file + " does not exist, and 1 mapping is in place\n")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:8443/tcp")
		p.run("remove", "--all")
		w.live(b)
		p.run("add", "80:8080")
		w.live(b, "80:8080/tcp")
	})
}

// A watch that finds a file without a mapping at its start takes nothing away, and stays for the edit that mends it.
func TestWatchStartsWithAnEmptiedFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		write(t, p.file, b.line()+"# nothing\n")
		w := p.watch()
		w.says(p.file + " has no mapping, and 1 mapping is in place\n")
		w.says("what is live stays, but is not put back")
		w.live(b, "443:8443/tcp")
		write(t, p.file, b.line()+"443:8443\n80:8080\n")
		w.live(b, "80:8080/tcp", "443:8443/tcp")
		w.says("the file is right again\n")
		b.flush(host)
		w.live(b, "80:8080/tcp", "443:8443/tcp")
	})
}

// refusing starts a watch and empties its file.
func (p portmap) refusing(t *testing.T, b backend) watching {
	t.Helper()
	p.run("add", "443:8443")
	w := p.watch()
	write(t, p.file, b.line()+"# nothing\n")
	w.says("what the file said before stays live\n")
	return w
}

// To apply an empty file takes all mappings away also where a watch has refused it.
func TestWatchAcceptsAnEmptyFileThatIsMeant(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		w := p.refusing(t, b)
		p.run("apply", "--empty")
		w.says("the file is right again\n")
		w.live(b)
	})
}

// A watch that had to wait for the lock does not undo what was done meanwhile.
func TestWatchLooksAgainUnderTheLock(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		w := p.refusing(t, b)
		w.patience = 45 * time.Second // what is seen of iptables-legacy by its size alone is looked at within 30
		free := w.heldUp()
		host.Run(f.flush[0], f.flush[1:]...)
		w.within("the watch to wait for the lock", w.waits)
		write(t, p.file, b.line()+"# nothing, indeed\n")
		free()
		w.says("the file is right again\n")
		w.live(b)
	})
}

// heldUp takes the lock that each change needs, until the function returned is called.
func (w watching) heldUp() (free func()) {
	w.t.Helper()
	var lock *rundir.Lock
	var err error
	w.host.Do(func() { lock, err = rundir.Open().Lock(context.Background(), time.Minute) })
	if err != nil || !lock.Held() {
		w.t.Fatal(lock, err)
	}
	return func() { lock.Close() }
}

// waits reports whether the watch has the lock file open, which it has only while it changes something or waits.
func (w watching) waits() bool {
	fds, _ := filepath.Glob("/proc/" + strconv.Itoa(w.process.Process.Pid) + "/fd/*")
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, _ := os.Readlink(fd)
		return strings.HasPrefix(target, rundir.Folder) && strings.HasSuffix(target, ".lock")
	})
}

// A watch whose file was wrong from the start has mappings in the kernel all the same: another file does not remove
// them. An edit that wants a port of another file takes nothing from anybody.
func TestWatchBesideAnotherFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p, other := b.command(t, host), b.command(t, host)
		write(t, p.file, b.line()+"443:8443\nwrong\n")
		w := p.watch()
		w.live(b, "443:8443/tcp")
		write(t, other.file, b.line()+"80:8080\n")
		if out := other.run("apply"); out != "added 80:8080/tcp\n" {
			t.Errorf("apply of another file says %q", out)
		}
		write(t, p.file, b.line()+"443:8443\n")
		w.says("the file is right again\n")
		write(t, p.file, b.line()+"443:8443\n80:9090\n")
		w.says("80:9090/tcp: 80/tcp is already taken by 80:8080/tcp, of " + other.file + "\n")
		w.says("what the file said before stays live\n")
		w.live(b, "80:8080/tcp", "443:8443/tcp")
	})
}
