package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// consistent checks that file and kernel hold the same mappings, as diff sees it.
func consistent(t *testing.T, p portmap) {
	t.Helper()
	if r := p.try("diff"); r.Code != 0 {
		t.Errorf("file and kernel differ: %+v", r)
	}
}

func TestTwentyAddsAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		var wait sync.WaitGroup
		results := make([]lab.Result, 20)
		for i := range results {
			wait.Add(1)
			go func() {
				defer wait.Done()
				results[i] = p.try("add", fmt.Sprintf("%d:%d", 1000+i, 2000+i))
			}()
		}
		wait.Wait()
		for i, r := range results {
			if r.Code != 0 {
				t.Errorf("add %d: %+v", i, r)
			}
		}
		if got := strings.Count(p.run("list", "-o", "plain"), "/tcp\n"); got != 20 {
			t.Errorf("%d of 20 mappings are saved", got)
		}
		consistent(t, p)
	})
}

// Killed at any moment: apply brings kernel and file together, and nothing that was reported as added is lost.
func TestKilledAtAnyMoment(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		r := rand.New(rand.NewPCG(1, 2))
		reported := map[string]bool{}
		p.run("add", "999:2999") // the first one takes longer: it looks around
		start := time.Now()
		p.run("add", "998:2998")
		killed, within := 0, int(2*time.Since(start).Microseconds())+2000
		for i := range 40 {
			mapping := fmt.Sprintf("%d:%d/tcp", 1000+i, 3000+i)
			var out bytes.Buffer
			cmd := p.cmd("add", mapping)
			cmd.Stdout = &out
			host.Do(func() {
				if err := cmd.Start(); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Duration(r.IntN(within)) * time.Microsecond)
			_ = cmd.Process.Kill()
			if err := cmd.Wait(); err != nil {
				killed++
			}
			if strings.HasPrefix(out.String(), "added") {
				reported[mapping] = true
			}
			if i%10 == 0 {
				p.run("apply")
				consistent(t, p)
			}
		}
		p.run("apply")
		consistent(t, p)
		saved := p.run("list", "-o", "plain")
		for mapping := range reported {
			if !strings.Contains(saved, mapping+"\n") {
				t.Errorf("%s was reported as added, and is lost", mapping)
			}
		}
		if killed == 0 || len(reported) == 0 {
			t.Errorf("%d were killed, %d reported: the test tests nothing", killed, len(reported))
		}
		left, _ := os.ReadDir(filepath.Dir(p.file))
		if len(left) > 2 { // the file and its lock
			t.Errorf("litter: %v", left)
		}
	})
}

// After a change that died half way, the next one makes kernel and file agree first.
func TestNextChangeMendsAnInterruptedOne(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		b.add(t, host, "80:8080") // the kernel has it, the file has not
		if err := os.WriteFile(p.hidden("staged"), []byte(b.line()+"443:8443/tcp\n80:8080/tcp\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := p.run("add", "81:8081"); out != "removed 80:8080/tcp\nadded 81:8081/tcp\n" {
			t.Errorf("add says %q", out)
		}
		if got := texts(b.live(t, host)); strings.Contains(got, "80:8080") {
			t.Errorf("live are\n%s", got)
		}
		consistent(t, p)
	})
}

// unchanged runs a command that must fail, and checks that it says so in the words given and changed nothing.
func unchanged(t *testing.T, p portmap, says string, args ...string) {
	t.Helper()
	fileBefore, _ := os.ReadFile(p.file)
	rulesBefore := p.host.Ruleset()
	r := p.try(args...)
	if r.Code != 1 || !strings.Contains(r.Err, says) {
		t.Errorf("portmap %v: exit %d, %q; want exit 1 and %q", args, r.Code, r.Err, says)
	}
	if lines := strings.Count(r.Err, "\n"); lines > 2 {
		t.Errorf("an error is one line and a remedy, this is\n%s", r.Err)
	}
	fileAfter, _ := os.ReadFile(p.file)
	if !bytes.Equal(fileBefore, fileAfter) {
		t.Errorf("the file was %q and is %q", fileBefore, fileAfter)
	}
	if rulesAfter := p.host.Ruleset(); rulesAfter != rulesBefore {
		t.Errorf("the rules are not what they were:\n%s", lineDiff(rulesBefore, rulesAfter))
	}
	if left, _ := filepath.Glob(p.hidden("*")); len(left) > 0 {
		t.Errorf("litter: %v", left)
	}
}

func TestFullDisk(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		mount(t, filepath.Dir(p.file), "tmpfs", 0, "size=8k")
		p.run("add", "443:8443", "444:8444")
		fill(t, filepath.Join(filepath.Dir(p.file), "ballast"))
		unchanged(t, p, "no space left on device", "add", "80:8080")
		unchanged(t, p, "no space left on device", "remove", "443")
	})
}

func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 100 {
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
	t.Fatal("the file system does not become full")
}

func mount(t *testing.T, dir, kind string, flags uintptr, options string) {
	t.Helper()
	if err := unix.Mount(kind, dir, kind, flags, options); err != nil {
		t.Fatalf("mount %s on %s: %v", kind, dir, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func TestReadOnlyFolder(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		mount(t, filepath.Dir(p.file), "tmpfs", 0, "size=64k")
		if err := os.WriteFile(p.file, []byte(b.line()+"443:8443\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("", filepath.Dir(p.file), "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=64k"); err != nil {
			t.Fatal(err)
		}
		if out := p.run("apply"); out != "added 443:8443/tcp\n" { // boot of a host whose disk is read-only
			t.Errorf("apply says %q", out)
		}
		unchanged(t, p, "read-only file system", "add", "80:8080")
		unchanged(t, p, "read-only file system", "remove", "443")
		if out := p.run("add", "80:8080", "--temporary"); out != "added 80:8080/tcp --temporary\n" {
			t.Errorf("add --temporary says %q", out)
		}
	})
}

// Without privilege, and with root's uid but none of its powers: exit 3, and what to type.
func TestNotPermitted(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		for _, args := range [][]string{{"add", "80:8080"}, {"remove", "443"}, {"list"}, {"apply"}, {"flush"},
			{"diff"}} {
			cmd := p.cmd(args...)
			// no capability over this network namespace
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
			if lab.UnprivilegedUID() != 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: lab.Nobody,
					Gid: lab.Nobody}}
			}
			r := host.TryCommand(cmd)
			if r.Code != 3 || !strings.Contains(r.Err, "\n  sudo portmap --config") {
				t.Errorf("%v: %+v; want exit 3 and sudo", args, r)
			}
		}
		consistent(t, p)
	})
}

// The kernel gets 60,000 mappings in one transaction and gives them all back; one more is one element.
func TestSixtyThousandMappings(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:60001")
		var lines []string
		for i := range 60000 {
			lines = append(lines, fmt.Sprintf("%d:60001 --name name-of-mapping-%d", i+1, i+1))
		}
		mappings := lab.Mappings(t, lines...)
		b.change(t, host, rules.Change{Reset: true, Add: mappings})
		live := b.live(t, host)
		set, err := live.Set()
		if err != nil || live.Damaged != "" || set.Len() != 60000 {
			t.Fatalf("%d of 60000 are live; %q, %v", set.Len(), live.Damaged, err)
		}
		for _, port := range []string{"1", "30000", "60000"} {
			if answer, err := client.Ask("tcp", "", "192.0.2.1:"+port); err != nil || answer.Server.Port() != 60001 {
				t.Errorf("port %s: %+v, %v", port, answer, err)
			}
		}
		b.change(t, host, rules.Change{Remove: mappings[:1], Add: lab.Mappings(t, "60002:60001")})
		b.change(t, host, rules.Change{Reset: true, Remove: mappings})
		if live := b.live(t, host); len(live.Mappings) != 0 {
			t.Errorf("%d are left", len(live.Mappings))
		}
	})
}

// Mappings that are rules, with sets that do not fit into one message: all ports from many networks.
func TestLargeRestrictedMapping(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:31000")
		sources := []string{"192.0.2.0/24"}
		for i := range 700 {
			sources = append(sources, fmt.Sprintf("10.%d.%d.0/25", i/250, i%250))
		}
		line := "1000-15999:30000-44999 --source " + strings.Join(sources, ",")
		b.add(t, host, line)
		if live := b.live(t, host); len(live.Mappings) != 1 || live.Damaged != "" {
			t.Fatalf("%d live, %q", len(live.Mappings), live.Damaged)
		}
		if answer, err := client.Ask("tcp", "", "192.0.2.1:2000"); err != nil || answer.Server.Port() != 31000 {
			t.Errorf("%+v, %v", answer, err)
		}
		b.change(t, host, rules.Change{Remove: lab.Mappings(t, line)})
		if live := b.live(t, host); len(live.Mappings) != 0 || live.Damaged != "" {
			t.Errorf("after the removal: %d live, %q", len(live.Mappings), live.Damaged)
		}
	})
}

// A change that does not fit what the kernel holds is refused, and changes nothing.
func TestDriftIsRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		b.add(t, host, "443:8443", "80:8080")
		before := texts(b.live(t, host))
		for name, c := range map[string]rules.Change{
			"another target for the same port": {Add: lab.Mappings(t, "81:8081", "443:9443")},
			"to remove what is not there":      {Remove: lab.Mappings(t, "82:8082"), Add: lab.Mappings(t, "81:8081")},
		} {
			var err error
			b.with(t, host, func(live rules.Backend) error {
				err = live.Apply(context.Background(), c)
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), rules.ErrDrift.Error()) {
				t.Errorf("%s: %v; want it refused", name, err)
			}
			if after := texts(b.live(t, host)); after != before {
				t.Errorf("%s: live were\n%s\nand are\n%s", name, before, after)
			}
		}
	})
}

// The sandbox of the tests is gone with its first process, however it ends.
func TestNothingIsLeftWhenTestsAreKilled(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run", "TestSleepForever", "-test.v")
	cmd.Env = append(os.Environ(), "PORTMAP_LAB=", "PORTMAP_SLEEP=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	said := ""
	for !strings.Contains(said, "sleeping") {
		n, err := out.Read(buffer)
		if said += string(buffer[:n]); err != nil {
			t.Fatalf("it said %q: %v", said, err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for range 100 {
		if found, _ := exec.Command("pgrep", "-f", "sleep 86399").Output(); len(found) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a process that a killed test had started is still there")
}

// TestSleepForever is what the test above kills.
func TestSleepForever(t *testing.T) {
	if os.Getenv("PORTMAP_SLEEP") == "" {
		return
	}
	host, _ := backends()[0].pair(t)
	host.Start(exec.Command("sleep", "86399"))
	fmt.Println("sleeping")
	select {}
}

// What a caller believes to be live spares a look at everything, and is not trusted.
func TestBeliefIsChecked(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8081", "192.0.2.1:9443")
		b.add(t, host, "80:8080", "443:9443") // the second is in no file
		saved := lab.Mappings(t, "80:8080")
		var err error
		b.with(t, host, func(live rules.Backend) error {
			err = live.Apply(context.Background(), rules.Change{Add: lab.Mappings(t, "443:8443"), Before: saved})
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), rules.ErrDrift.Error()) {
			t.Errorf("another target for the same port: %v; want it refused", err)
		}
		b.change(t, host, rules.Change{Add: lab.Mappings(t, "81:8081"), Before: saved})
		b.change(t, host, rules.Change{Remove: saved, Before: append(saved, lab.Mappings(t, "81:8081", "99:999")...)})
		live := b.live(t, host)
		if got := texts(live); got != "81:8081/tcp\n443:9443/tcp" || live.Damaged != "" {
			t.Errorf("live are\n%s; %s", got, live.Damaged)
		}
		for asked, served := range map[string]uint16{"81": 8081, "443": 9443} {
			if answer, err := client.Ask("tcp", "", "192.0.2.1:"+asked); err != nil || answer.Server.Port() != served {
				t.Errorf("port %s: %+v, %v", asked, answer, err)
			}
		}
	})
}
