package integration

import (
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

// The benchmarks of this file time whole processes in turn, portmap and the usual tool for the same, and report the
// medians and the ratio pair by pair. Machines are noisy: only the ratios mean anything. `make bench` takes 31 pairs.

// BenchmarkBesideNft compares one change, a large one, and a list.
func BenchmarkBesideNft(b *testing.B) {
	disk, err := os.MkdirTemp("/var/tmp", "portmap-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(disk) })
	for _, live := range []int{0, 1000, 60000} {
		b.Run(fmt.Sprintf("add one of %d, file in memory", live), func(b *testing.B) {
			benchmarkAddBesideNft(b, b.TempDir(), live, "add")
		})
		b.Run(fmt.Sprintf("add one of %d, file on disk", live), func(b *testing.B) {
			benchmarkAddBesideNft(b, disk, live, "add")
		})
		b.Run(fmt.Sprintf("add one temporary of %d", live), func(b *testing.B) { // no file is written
			benchmarkAddBesideNft(b, b.TempDir(), live, "add", "--temporary")
		})
	}
	b.Run("apply 60000 from nothing", func(b *testing.B) {
		r := newRace(b, backends()[0], b.TempDir(), 60000)
		exported := filepath.Join(b.TempDir(), "rules.nft")
		r.check(os.WriteFile(exported, []byte(r.host.Run(r.portmap, "--config", r.file, "export")), 0o600))
		r.before = func() { r.host.Run("nft", "flush", "ruleset") }
		r.run(func(int) []*exec.Cmd { return r.ours("apply") }, func(int) []*exec.Cmd {
			return r.theirs("nft", "-f", exported)
		})
	})
	b.Run("list 60000", func(b *testing.B) {
		r := newRace(b, backends()[0], b.TempDir(), 60000)
		r.run(func(int) []*exec.Cmd { return r.ours("list", "-o", "json") },
			func(int) []*exec.Cmd { return r.theirs("nft", "list", "map", "inet", "portmap", "ports") })
	})
	b.Run("version", func(b *testing.B) {
		r := newRace(b, backends()[0], b.TempDir(), 0)
		r.run(func(int) []*exec.Cmd { return r.ours("version") },
			func(int) []*exec.Cmd { return r.theirs("nft", "--version") })
	})
}

func benchmarkAddBesideNft(b *testing.B, folder string, live int, words ...string) {
	r := newRace(b, backends()[0], folder, live)
	r.run(func(round int) []*exec.Cmd { return r.ours(append(words, fmt.Sprintf("%d:60000", 62000+round))...) },
		func(round int) []*exec.Cmd {
			element := fmt.Sprintf("{ tcp . %d comment \"%d:60000/tcp\" : 60000 }", 60001+round, 60001+round)
			return r.theirs("nft", "add", "element", "inet", "portmap", "ports", element)
		})
}

// BenchmarkBesideIptables compares with flat rules, as users of iptables write them: both families each time.
func BenchmarkBesideIptables(b *testing.B) {
	for _, k := range backends()[1:] {
		for _, live := range []int{1, 1000, 10000} {
			b.Run(fmt.Sprintf("%s, add one of %d", k.name, live), func(b *testing.B) {
				r := newRace(b, k, b.TempDir(), live)
				for _, tool := range k.tools {
					r.host.Run(tool, "-t", "nat", "-N", "FLAT")
				}
				r.run(func(round int) []*exec.Cmd { return r.ours("add", fmt.Sprintf("%d:60000", 50000+round)) },
					func(round int) (all []*exec.Cmd) {
						for _, tool := range k.tools {
							all = append(all, r.theirs(tool, "-w", "-t", "nat", "-A", "FLAT", "-p", "tcp", "--dport",
								fmt.Sprint(50000+round), "-j", "DNAT", "--to-destination", ":60000")...)
						}
						return all
					})
			})
		}
		for _, comments := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s, apply 10000 from nothing, comments %v", k.name, comments), func(b *testing.B) {
				r := newRace(b, k, b.TempDir(), 10000)
				r.before = func() { k.flush(r.host) }
				text := flatRules(10000, comments)
				r.run(func(int) []*exec.Cmd { return r.ours("apply") },
					func(int) (all []*exec.Cmd) {
						for _, tool := range k.tools {
							restore := exec.Command(tool+"-restore", "--noflush")
							restore.Stdin = strings.NewReader(text)
							all = append(all, restore)
						}
						return all
					})
			})
		}
	}
}

func flatRules(count int, comments bool) string {
	var text strings.Builder
	text.WriteString("*nat\n:FLAT - [0:0]\n")
	for i := 1; i <= count; i++ {
		target, comment := 60100+i%5000, ""
		if comments {
			comment = fmt.Sprintf("-m comment --comment \"%d:%d/tcp\" ", i, target)
		}
		fmt.Fprintf(&text, "-A FLAT -p tcp -m tcp --dport %d %s-j DNAT --to-destination :%d\n", i, comment, target)
	}
	text.WriteString("COMMIT\n")
	return text.String()
}

// released is the command as packages hold it, whose compiler options cost some speed.
var released = compiled(func(path string) *exec.Cmd {
	return exec.Command("../packaging/compile.sh", "benchmark", path)
})

// race is a host on which portmap and another tool do the same in turn.
type race struct {
	b       *testing.B
	host    *lab.Host
	portmap string // as it is released
	file    string
	before  func() // each of the two, not timed; nil for nothing
}

// newRace makes a host with so many mappings, and with the chains or maps of portmap at least.
func newRace(b *testing.B, k backend, folder string, live int) *race {
	b.Helper()
	path, err := released()
	if err != nil {
		b.Fatal(err, path)
	}
	r := &race{b: b, host: lab.New(b).Host("host"), portmap: path, file: filepath.Join(folder, "portmap.conf")}
	k.prefer(r.host)
	var text strings.Builder
	text.WriteString(k.line())
	for i := 1; i <= live; i++ {
		fmt.Fprintf(&text, "%d:%d/tcp\n", i, 60100+i%5000)
	}
	r.check(os.WriteFile(r.file, []byte(text.String()), 0o600))
	if live == 0 {
		r.host.Run(r.portmap, "-q", "--config", r.file, "add", "65535:60000")
	} else {
		r.host.Run(r.portmap, "-q", "--config", r.file, "apply")
	}
	return r
}

func (r *race) ours(words ...string) []*exec.Cmd {
	return r.theirs(r.portmap, append([]string{"-q", "--config", r.file}, words...)...)
}

func (r *race) theirs(name string, args ...string) []*exec.Cmd {
	return []*exec.Cmd{exec.Command(name, args...)}
}

// run does both in turn, and reports; peak-MB is the most memory of portmap, or of this process where it has more
// (Linux counts from before execve). Each returns what it runs in a round, one process after the other.
func (r *race) run(ours, theirs func(round int) []*exec.Cmd) {
	r.b.Helper()
	var mine, others, ratios []float64
	var peak int64
	for round := 0; r.b.Loop(); round++ {
		a, memory := r.time(ours(round))
		b, _ := r.time(theirs(round))
		mine, others, ratios = append(mine, a), append(others, b), append(ratios, a/b)
		peak = max(peak, memory)
	}
	r.b.ReportMetric(0, "ns/op") // which would be both together
	r.b.ReportMetric(median(mine), "ms")
	r.b.ReportMetric(median(others), "ms-other")
	r.b.ReportMetric(median(ratios), "ratio")
	r.b.ReportMetric(float64(peak)/1024, "peak-MB")
}

// time returns the milliseconds that processes take, one after the other, and the most memory of one, in kB.
func (r *race) time(commands []*exec.Cmd) (ms float64, peak int64) {
	r.b.Helper()
	if r.before != nil {
		r.before()
	}
	for _, cmd := range commands {
		var taken time.Duration
		var err error
		r.host.Do(func() {
			start := time.Now()
			err = cmd.Run()
			taken = time.Since(start)
		})
		r.check(err)
		ms += taken.Seconds() * 1e3
		peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	return ms, peak
}

func (r *race) check(err error) {
	r.b.Helper()
	if err != nil {
		r.b.Fatal(err)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
