package integration

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// state returns all of a host that check could change, as a text.
func (s *checkedHost) state() string {
	s.Helper()
	text := s.ruleset()
	for _, command := range []string{"iptables-nft-save", "ip6tables-nft-save", "ip -d link", "ip address",
		"ip -4 route show table all", "ip -6 route show table all", "ip rule"} {
		text += s.host.Run("sh", "-c", command+" | sed 's/^#.*//; s/\\[[0-9:]*\\]//'")
	}
	s.host.Do(func() { text += settings() })
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	var spaces []string
	for _, path := range processes {
		if space, err := os.Readlink(path); err == nil {
			spaces = append(spaces, space)
		}
	}
	slices.Sort(spaces)
	return text + strings.Join(slices.Compact(spaces), "\n") + "\n"
}

// settings returns the values below /proc/sys/net of this thread's network namespace, without a count that grows by
// itself.
func settings() string {
	var text strings.Builder
	_ = filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Base(path) == "nf_conntrack_count" {
			return nil
		}
		value, _ := os.ReadFile(path) // some can only be written
		text.WriteString(path + " = " + string(value))
		return nil
	})
	return text.String()
}

// check leaves nothing behind on a host that it finds broken; with --no-probe it makes nothing in the first place.
func TestCheckLeavesNothing(t *testing.T) {
	for i, cause := range []string{"a policy to drop, nft", "a policy to drop, iptables-nft",
		"a rule that drops, iptables-legacy", "the other host is silent"} {
		t.Run(cause, func(t *testing.T) {
			table := brokenHosts()
			h := table[slices.IndexFunc(table, func(h brokenHost) bool { return h.cause == cause })]
			s := h.make(t)
			h.breaks(s)
			next := func() int { // the index of a new interface
				index := 0
				s.host.Do(func() {
					link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "next"}}
					if err := netlink.LinkAdd(link); err != nil {
						t.Error(err)
					}
					index = link.Index
					_ = netlink.LinkDel(link)
				})
				return index
			}
			ways := [][]string{nil}
			if i == 0 {
				ways = [][]string{{"--no-probe"}, nil}
			}
			for _, args := range ways {
				index, before := next(), s.state()
				found := s.check(args...)
				if after := s.state(); after != before {
					t.Errorf("check %v changes\n%s", args, lineDiff(before, after))
				}
				if made := next() - index - 1; (made > 0) != (args == nil) {
					t.Errorf("check %v made %d interfaces", args, made)
				}
				if args == nil && found.ids()[0] != h.finds {
					t.Errorf("found %v", found.ids())
				}
			}
		})
	}
}

// However check ends, nothing of it outlives it.
func TestCheckKilled(t *testing.T) {
	s := brokenHost{}.make(t)
	twoDrops(s)
	before := s.state()
	for i := range 50 {
		cmd := s.p.cmd("check")
		s.host.Do(func() {
			if err := cmd.Start(); err != nil {
				t.Error(err)
			}
		})
		moment := rand.N(250 * time.Millisecond)
		time.Sleep(moment)
		for i == 0 && len(s.leftovers()) < 2 { // else the test would see nothing of what is left, either
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		left := s.leftovers()
		for end := time.Now().Add(2 * time.Second); len(left) > 0; left = s.leftovers() {
			if time.Now().After(end) {
				t.Fatalf("killed after %s it leaves %v", moment, left)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if after := s.state(); after != before {
		t.Errorf("the host is not what it was:\n%s", lineDiff(before, after))
	}
}

// leftovers returns the interfaces and tables of check.
func (s *checkedHost) leftovers() (list []string) {
	s.Helper()
	s.host.Do(func() {
		links, err := netlink.LinkList()
		if err != nil {
			s.Error(err)
		}
		for _, link := range links {
			if strings.HasPrefix(link.Attrs().Name, "pmcheck") {
				list = append(list, link.Attrs().Name)
			}
		}
		conn, err := nftables.New()
		if err != nil {
			s.Error(err)
			return
		}
		tables, err := conn.ListTables()
		if err != nil {
			s.Error(err)
		}
		for _, table := range tables {
			if strings.HasPrefix(table.Name, "portmap-trace") {
				list = append(list, table.Name)
			}
		}
	})
	return list
}
