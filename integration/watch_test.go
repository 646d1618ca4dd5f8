package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
)

// What others flush is put back: 50 times, in runs that stay below the limit; with iptables, where each look takes
// programs, 10 times.
func TestWatchPutsBackWhatIsFlushed(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, client := b.barePair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		p := b.command(t, host)
		p.run("add", "443:8443", "80:8080", "8000-8010:9000-9010/tcp,udp")
		p.run("add", "70:7070", "--source", "192.0.2.0/24", "--temporary")
		want := strings.Split(texts(b.live(t, host)), "\n")
		var took []time.Duration
		runs := 5
		if b.name != "nft" {
			runs = 1
		}
		for range runs {
			w := p.watch()
			for range 9 {
				took = append(took, flushAndTime(w, b, f, want))
			}
			w.process.Process.Kill() // what was put back stays, however the process ends
			_ = w.process.Wait()
			w = p.watch()
			took = append(took, flushAndTime(w, b, f, want))
			w.ends(syscall.SIGTERM)
		}
		slices.Sort(took)
		t.Logf("%d flushes, back after %v in the median, %v at worst", len(took), took[len(took)/2], took[len(took)-1])
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

// Parts of the table that somebody takes away come back as the whole does.
func TestWatchMendsDamage(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		p.run("add", "8000-8010:9000-9010", "70:7070")
		w := p.watch()
		// rules of iptables-legacy exchanged for others of the same size are noticed within 30
		w.patience = 45 * time.Second
		for _, damage := range b.damages()[:6] {
			if strings.HasSuffix(damage, " -F") {
				continue // that takes rules of others, too
			}
			words := strings.Fields(damage)
			host.Run(words[0], words[1:]...)
			w.within(damage, func() bool {
				time.Sleep(500 * time.Millisecond) // diff takes more of the processors than the watch
				return p.try("diff").Code == 0
			})
		}
		if b.name != "iptables-legacy" { // which does not tell who it was
			w.says("after a change by " + map[string]string{"nft": "nft", "iptables-nft": "ip"}[b.name])
		}
	})
}

// For a time: what is flushed meanwhile is put back, and stays when it ends.
func TestWatchForATime(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		w := p.watch("--for", "2s")
		host.Run(f.flush[0], f.flush[1:]...)
		w.live(b, "443:8443/tcp")
		if err := w.process.Wait(); err != nil {
			t.Errorf("it ended with %v:\n%s", err, w.log)
		}
		w.live(b, "443:8443/tcp")
	})
}

// What portmap itself changes meanwhile is not undone, and no news.
func TestWatchLivesWithOtherCommands(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		w := p.watch()
		changes := 20
		if b.name != "nft" { // where each takes programs
			changes = 5
		}
		for i := range changes {
			p.run("add", fmt.Sprintf("%d:%d", 1000+i, 2000+i))
		}
		p.run("add", "443:8443", "--temporary")
		time.Sleep(300 * time.Millisecond) // for what should not happen
		p.run("remove", "443")
		for i := range changes {
			p.run("remove", fmt.Sprint(1000+i))
		}
		p.run("add", "80:8080")
		time.Sleep(200 * time.Millisecond) // for what should not happen
		w.live(b, "80:8080/tcp")
		if log := w.log.String(); strings.Count(log, "\n") != 1 {
			t.Errorf("the log is\n%s", log)
		}
	})
}

// A file behind a symbolic link, which no event tells of; a hangup, which asks for it to be applied at once; the end.
func TestWatchSignals(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		target := filepath.Join(t.TempDir(), "elsewhere.conf")
		write(t, target, b.line()+"443:8443\n")
		if err := os.Symlink(target, p.file); err != nil {
			t.Fatal(err)
		}
		w := p.watch()
		write(t, target, b.line()+"80:8080\n")
		w.live(b, "80:8080/tcp")
		write(t, target, b.line()+"81:8081\n")
		if err := w.process.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		w.live(b, "81:8081/tcp")
		if code := w.ends(syscall.SIGTERM); code != 0 {
			t.Errorf("exit %d\n%s", code, w.log)
		}
		w.live(b, "81:8081/tcp")
	})
}

// A supervisor is told when it is ready and that it lives, and its journal gets priorities.
func TestWatchUnderASupervisor(t *testing.T) {
	lab.Need(t, "nft")
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	socket := filepath.Join(t.TempDir(), "notify")
	notified := supervise(t, socket)
	log, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(log.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	cmd := p.cmd("watch")
	cmd.Stderr = log
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=200000",
		fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
	host.Start(cmd)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if !waitFor(notified, want) {
			t.Fatalf("%s does not come", want)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !waitFor(notified, "STOPPING=1") {
		t.Error("the end is not told")
	}
	_ = cmd.Wait()
	if text, _ := os.ReadFile(log.Name()); string(text) != "<5>portmap: watching 0 mappings\n" {
		t.Errorf("the journal has %q", text)
	}
}
