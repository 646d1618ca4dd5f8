package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

func variants() []backend { return backends()[1:] }

func eachVariant(t *testing.T, test func(*testing.T, backend)) {
	for _, b := range variants() {
		t.Run(b.name, func(t *testing.T) { test(t, b) })
	}
}

// programs makes a folder with the programs of a variant, of which some are replaced by shell scripts; "" leaves one
// out.
func (b backend) programs(t *testing.T, replaced map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range b.tools {
		for _, name := range []string{tool, tool + "-save", tool + "-restore"} {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			script, other := replaced[name]
			if !other {
				script = "exec " + path + ` "$@"`
			}
			if script == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// in is the backend with its programs in a folder.
func (b backend) in(folder string) backend {
	b.open = func() (rules.Backend, error) {
		return ipt.Open(context.Background(), ipt.Options{Variant: ipt.Variant(b.name), Folders: []string{folder},
			Wait: time.Second})
	}
	return b
}

// refused applies a change that must fail, and checks that nothing has changed.
func (b backend) refused(t *testing.T, h *lab.Host, c rules.Change) error {
	t.Helper()
	before := ownRules(b.save(h)) + h.Foreign()
	var refusal error
	b.with(t, h, func(live rules.Backend) error {
		refusal = live.Apply(context.Background(), c)
		return nil
	})
	if refusal == nil {
		t.Fatal("it was done")
	}
	if after := ownRules(b.save(h)) + h.Foreign(); after != before {
		t.Errorf("the rules are not what they were:\n%s", lineDiff(before, after))
	}
	return refusal
}

// lineDiff returns the lines that are in one text alone, as - and +.
func lineDiff(before, after string) string {
	count := map[string]int{}
	for _, l := range strings.Split(before, "\n") {
		count[l]--
	}
	for _, l := range strings.Split(after, "\n") {
		count[l]++
	}
	var lines []string
	for l, n := range count {
		if n != 0 {
			lines = append(lines, fmt.Sprintf("%+d %s", n, l))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n(if there is nothing above, the order)"
}

// The second family fails after the first went through: the first is put back.
func TestSecondFamilyFails(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		b.add(t, host, "443:8443", "1000-1040:2000-2040")
		breaks := "case \"$*\" in *-S*) exec " + b.tools[1] +
			" \"$@\";; esac; sleep 0.2; echo 'ip6tables: it broke' >&2; exit 1"
		broken := b.in(b.programs(t, map[string]string{b.tools[1]: breaks, b.tools[1] + "-restore": breaks}))
		for name, c := range map[string]rules.Change{
			"a rule more": {Add: lab.Mappings(t, "80:8080")},
			"chains more": {
				Add: lab.Mappings(t, "3000-3100:4000-4100/tcp,udp",
					"5:6 --source 10.0.0.0/8,192.168.0.0/16,2001:db8::/32")},
			"everything gone": {Reset: true, Remove: lab.Mappings(t, "443:8443", "1000-1040:2000-2040")},
			"as believed": {
				Add: lab.Mappings(t, "80:8080"), Before: lab.Mappings(t, "443:8443", "1000-1040:2000-2040")},
		} {
			err := broken.refused(t, host, c)
			var e *ipt.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "it broke") ||
				strings.Contains(err.Error(), "taken back") {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A program that is killed does not tell how far it came.
func TestRestoreIsKilledAfterItsWork(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		b.add(t, host, "443:8443")
		for name, c := range map[string]rules.Change{
			b.tools[1]:              {Add: lab.Mappings(t, "80:8080/udp")}, // one rule
			b.tools[1] + "-restore": {Add: lab.Mappings(t, "80:8080", "82:8082")},
		} {
			path, _ := exec.LookPath(name)
			dying := b.in(b.programs(t,
				map[string]string{name: `[ -e "$0.once" ] && exec ` + path + ` "$@"; touch "$0.once"; ` + path +
					` "$@"; kill -9 $$`}))
			dying.refused(t, host, c)
		}
	})
}

// Killed between the two families: the next change, and apply, see that half is missing.
func TestOneFamilyIsMissing(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		p := b.command(t, host)
		p.run("add", "443:8443")
		texts := b.exports(p)
		p.run("flush")
		b.load(t, host, texts[:1])
		if r := p.try("diff"); r.Code != 1 {
			t.Errorf("diff finds nothing: %+v", r)
		}
		p.run("apply")
		consistent(t, p)
		for _, address := range []string{"192.0.2.1", "[2001:db8::1]"} {
			if answer, err := client.Ask("tcp", "", address+":443"); err != nil || answer.Server.Port() != 8443 {
				t.Errorf("%s: %+v, %v", address, answer, err)
			}
		}
	})
}

// Another program holds the lock: for a while it is waited for, and then said who to look for.
func TestXtablesLock(t *testing.T) {
	b := backends()[2]
	host, _ := b.pair(t)
	b.add(t, host, "443:8443")
	lock, err := os.OpenFile("/run/xtables.lock", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	err = b.refusedQuietly(t, host, rules.Change{Add: lab.Mappings(t, "80:8080")})
	var e *ipt.Error
	if !errors.As(err, &e) || !strings.Contains(e.Why, "holds the xtables lock") ||
		!strings.Contains(e.Remedy(), "fuser") {
		t.Errorf("%v", err)
	}
	released := make(chan error)
	fd := int(lock.Fd())
	time.AfterFunc(300*time.Millisecond, func() { released <- unix.Flock(fd, unix.LOCK_UN) })
	b.add(t, host, "80:8080")
	if err := <-released; err != nil {
		t.Error(err)
	}
	if got := texts(b.live(t, host)); got != "80:8080/tcp\n443:8443/tcp" {
		t.Errorf("live are\n%s", got)
	}
}

// refusedQuietly is refused for a host whose rules cannot be listed just now.
func (b backend) refusedQuietly(t *testing.T, h *lab.Host, c rules.Change) (refusal error) {
	t.Helper()
	b.with(t, h, func(live rules.Backend) error {
		refusal = live.Apply(context.Background(), c)
		return nil
	})
	return refusal
}

// A chain that has our name and is not ours is not emptied.
func TestForeignChainHasOurName(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		host.Run(b.tools[0], "-t", "nat", "-N", "PORTMAP")
		host.Run(b.tools[0], "-t", "nat", "-A", "PORTMAP", "-p", "tcp", "--dport", "99", "-j", "REDIRECT", "--to-ports",
			"98")
		p := b.command(t, host)
		unchanged(t, p, "a chain PORTMAP is there that is not portmap's\n  give it another name", "add", "443:8443")
		if r := p.try("list"); r.Code != 0 {
			t.Errorf("list: %+v", r)
		}
	})
}

// A rule of others that leads into a chain of ours keeps that in the kernel: what would take the chain away names the
// rule.
func TestForeignRuleLeadsIntoOurs(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		host.Run(b.tools[1], "-t", "nat", "-N", "VPN")
		host.Run(b.tools[1], "-t", "nat", "-A", "VPN", "-i", "wg0", "-j", "PORTMAP")
		remedy := "a rule of others leads into PORTMAP, a chain that is to go: -A VPN -i wg0 -j PORTMAP\n" +
			"  to take it out: sudo /usr/sbin/" + b.tools[1] + " -t nat -D VPN -i wg0 -j PORTMAP"
		for _, away := range [][]string{{"flush"}, {"remove", "443"}, {"remove", "--all"}} {
			unchanged(t, p, strings.Join(away, " ")+": "+remedy, away...)
		}
		p.run("add", "80:8080")
		host.Run(b.tools[1], "-t", "nat", "-D", "VPN", "-i", "wg0", "-j", "PORTMAP")
		p.run("remove", "--all")
	})
}

// No ip6tables: IPv4 goes in, with one warning; IPv6 alone is an error.
func TestNoIP6Tables(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		half := b.in(b.programs(t, map[string]string{b.tools[1]: "", b.tools[1] + "-save": "",
			b.tools[1] + "-restore": ""}))
		half.add(t, host, "443:8443")
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v", answer, err)
		}
		if live := half.live(t, host); len(live.Mappings) != 1 || live.Damaged != "" {
			t.Errorf("live are %+v", live)
		}
		if err := half.refused(t, host, rules.Change{Add: lab.Mappings(t, "80:8080 -6")}); !strings.Contains(
			err.Error(), "80:8080/tcp: this host has no ip6tables") {
			t.Errorf("%v", err)
		}
		half.with(t, host, func(live rules.Backend) error {
			missing, why := live.(*ipt.Backend).Limits()
			if missing != rules.IPv6 || !strings.Contains(why, "no ip6tables") {
				t.Errorf("%v, %q", missing, why)
			}
			return nil
		})
	})
}

func TestNoIptables(t *testing.T) {
	_, err := ipt.Open(context.Background(), ipt.Options{Folders: []string{t.TempDir()}})
	var e *ipt.Error
	if !errors.As(err, &e) || e.Error() != "this host has no iptables" || e.Remedy() == "" {
		t.Errorf("%v", err)
	}
	if there, err := ipt.Present(context.Background(), ipt.Options{Folders: []string{t.TempDir()}}); there ||
		err != nil {
		t.Errorf("%t, %v", there, err)
	}
}
