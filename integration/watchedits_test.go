package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
)

// An edit is applied, by whatever way the file is written; a wrong one is told once, and what was good stays, flushed
// or not.
func TestWatchAppliesEdits(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		w := p.watch()

		write(t, p.file, b.line()+"443:8443\n80:8080\n")
		w.live(b, "80:8080/tcp", "443:8443/tcp")
		write(t, p.file+".edited", b.line()+"443:9443\n")
		if err := os.Rename(p.file+".edited", p.file); err != nil {
			t.Fatal(err)
		}
		w.live(b, "443:9443/tcp")
		w.says("portmap: the file was edited: removed 80:8080/tcp, 443:8443/tcp, added 443:9443/tcp\n")

		write(t, p.file, b.line()+"443:9443\n80:8080/sctp\n")
		w.says(lineTwo(b) + ": 80:8080/sctp: sctp: not a protocol\n  write /tcp, /udp or /tcp,udp\n")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:9443/tcp")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:9443/tcp")
		write(t, p.file, b.line()+"443:9443 --owner nobodyknows\n")
		w.says("--owner nobodyknows: no such user on this host\n")
		write(t, p.file, b.line()+"443:9443\n80:8080/sctp\n")
		w.says(lineTwo(b) + ": 80:8080/sctp: sctp: not a protocol\n  write /tcp, /udp or /tcp,udp\n" +
			"portmap: what the file said before stays live\n")
		if n := strings.Count(w.log.String(), "such user"); n != 1 {
			t.Errorf("what is wrong was told %d times:\n%s", n, w.log)
		}
		if content, _ := os.ReadFile(p.file); string(content) != b.line()+"443:9443\n80:8080/sctp\n" {
			t.Errorf("the file became %q", content)
		}

		write(t, p.file, b.line()+"81:8081\n")
		w.live(b, "81:8081/tcp")
		w.says("portmap: the file is right again\n")
		if code := w.ends(syscall.SIGINT); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
}

// A file that cannot be read any more, or names a packet filter that is not there, is one that is wrong: what it said
// before is put back all the same, at no cost, until it is right again.
func TestWatchKeepsWhatWasGood(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		w := p.watch()
		spoilt := map[string]func(){
			"can be written by everybody": func() { mode(t, p.file, 0o666) },
			"is a folder": func() {
				mode(t, p.file, 0o644)
				if err := errors.Join(os.Rename(p.file, p.file+".good"), os.Mkdir(p.file, 0o755)); err != nil {
					t.Fatal(err)
				}
			},
		}
		for _, why := range []string{"can be written by everybody", "is a folder"} {
			spoilt[why]()
			w.says(why)
			before := w.cpu()
			host.Run(f.flush[0], f.flush[1:]...)
			w.live(b, "443:8443/tcp")
			healed := w.cpu()
			time.Sleep(time.Second) // for what should not happen
			rest := float64(w.cpu()-healed) / float64(healed-before)
			t.Logf("%s: to put it back cost %v of CPU, the second after it %.1f times as much", why, healed-before,
				rest)
			if rest > 5 {
				t.Errorf("%s: the second after it cost %.1f times what it cost to put it back", why, rest)
			}
		}
		if err := errors.Join(os.Remove(p.file), os.Rename(p.file+".good", p.file)); err != nil {
			t.Fatal(err)
		}
		w.says("the file is right again")
		write(t, p.file, b.line()+"80:8080\n")
		w.live(b, "80:8080/tcp")
	})
}

// So is a file that names a packet filter which this host does not have.
func TestWatchKeepsItsBackend(t *testing.T) {
	lab.Need(t, "nft")
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	p.run("add", "443:8443")
	const bare = "#!/bin/sh\nexec unshare --mount sh -c 'mount -t tmpfs tmpfs /usr/sbin && exec \"$0\" \"$@\"' %s " +
		"\"$@\"\n"
	without := filepath.Join(t.TempDir(), "without-iptables")
	write(t, without, fmt.Sprintf(bare, p.path))
	mode(t, without, 0o755)
	p.path = without
	w := p.watch()
	write(t, p.file, "backend iptables\n443:8443\n")
	w.says("portmap: watch: this host has no iptables\n")
	w.says("what the file said before stays live")
	b.flush(host)
	w.live(b, "443:8443/tcp")
	write(t, p.file, "443:8443\n80:8080\n")
	w.live(b, "80:8080/tcp", "443:8443/tcp")
}

// The good lines of a file that is wrong at the start are guarded, and the others applied as soon as they are mended.
func TestWatchBeginsWithGoodLines(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		write(t, p.file, b.line()+"443:8443\n80:eighty\n")
		w := p.watch()
		w.says(lineTwo(b) + ": 80:eighty: ")
		w.says("lines that are wrong are left out")
		w.live(b, "443:8443/tcp")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:8443/tcp")
		write(t, p.file, b.line()+"443:8443\n80:8080\n")
		w.live(b, "80:8080/tcp", "443:8443/tcp")
		w.says("the file is right again")
		if log := w.log.String(); strings.Contains(log, "warning") {
			t.Errorf("the log is\n%s", log)
		}
	})
}

// A file is not applied while it is being written.
func TestWatchWaitsForTheRestOfALine(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "80:8080")
		w := p.watch()
		for range 3 {
			write(t, p.file, b.line()+"443:84")
			time.Sleep(200 * time.Millisecond)
			write(t, p.file, "")
			time.Sleep(200 * time.Millisecond)
		}
		write(t, p.file, b.line()+"80:8080\n443:8443\n")
		w.live(b, "80:8080/tcp", "443:8443/tcp")
		if log := w.log.String(); strings.Contains(log, "removed") || strings.Contains(log, "443:84/") {
			t.Errorf("the log is\n%s", log)
		}
	})
}

func mode(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// lineTwo names the second line of mappings.
func lineTwo(b backend) string { return fmt.Sprintf("line %d", 2+strings.Count(b.line(), "\n")) }
