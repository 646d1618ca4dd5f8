package integration

import (
	"os"
	"syscall"
	"testing"
)

// asleep runs something while the watch does not look: what happens then is one moment to it.
func (w watching) asleep(do func()) {
	w.t.Helper()
	signal := func(s syscall.Signal) {
		if err := w.process.Process.Signal(s); err != nil {
			w.t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	defer signal(syscall.SIGCONT)
	do()
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
		w.says(p.file + " has no mapping, and 1 mapping is in place\n  nothing was removed; to remove all of them: sudo portmap remove --all\n")
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
