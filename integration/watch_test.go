package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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

func mode(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
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

// A tool that flushes as fast as it can is not fought at its speed, and does not cost the host a core. When it stops,
// what is missing comes back.
func TestWatchFightsWithinLimits(t *testing.T) {
	eachFlusher(t, func(t *testing.T, b backend, f flusher) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443", "80:8080")
		w := p.watch()
		before := w.cpu()
		loop := exec.Command("sh", "-c", f.loop)
		loop.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		host.Start(loop)
		start := time.Now()
		w.patience = 30 * time.Second // the first pause of a fight has 5, one of a slow host 10
		w.says("put back 443")
		time.Sleep(time.Until(start.Add(3 * time.Second)))
		_ = syscall.Kill(-loop.Process.Pid, syscall.SIGKILL)
		_ = loop.Wait()
		lasted := time.Since(start)
		used, heals := w.cpu()-before, strings.Count(w.log.String(), "put back 443")
		t.Logf("%v of flushing: %d times put back, %v of CPU time", lasted.Round(time.Millisecond), heals, used)
		if most := 10 + int(lasted/(5*time.Second)); heals > most {
			t.Errorf("put back %d times, want at most %d:\n%s", heals, most, w.log)
		}
		if n := strings.Count(w.log.String(), "at most once in"); n > 1 || heals == 10 && n == 0 {
			t.Errorf("the limit was told %d times:\n%s", n, w.log)
		}
		w.live(b, "80:8080/tcp", "443:8443/tcp")
	})
}

// Others' changes, many and large, are none of our business, and cost next to nothing.
func TestWatchIgnoresAFloodOfOthers(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		w := p.watch()
		before, start := w.cpu(), time.Now()
		host.Run("nft", "add table inet other; add set inet other s { type inet_service . inet_service ; }")
		elements, singles := &strings.Builder{}, &strings.Builder{}
		for i := range 30_000 {
			fmt.Fprintf(elements, "add element inet other s { %d . 1 }\n", i)
		}
		backends()[0].load(t, host, []string{elements.String()})
		for i := range 1_500 {
			fmt.Fprintf(singles, "add element inet other s { %d . 2 }\n", i)
		}
		each := exec.Command("nft", "-i") // each line is a transaction
		each.Stdin = strings.NewReader(singles.String())
		if r := host.TryCommand(each); r.Code != 0 {
			t.Fatalf("nft -i: %+v", r)
		}
		t.Logf("30,000 elements at once and 1,500 transactions, in %v: %v of CPU time", time.Since(start),
			w.cpu()-before)
		if log := w.log.String(); strings.Count(log, "\n") != 1 {
			t.Errorf("the log is\n%s", log)
		}
		b.flush(host)
		w.patience = 30 * time.Second // it looked so often that it may not look at once
		w.live(b, "443:8443/tcp")
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

// lineTwo names the second line of mappings.
func lineTwo(b backend) string { return fmt.Sprintf("line %d", 2+strings.Count(b.line(), "\n")) }
