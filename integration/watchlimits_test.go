package integration

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
