package nftext

import (
	"strings"
	"testing"

	"portmap/internal/lab"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A rule is written as nft was given it. These are those that stop packets on hosts: what nft lists in other words is
// left out.
func TestAsNftWritesIt(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Run("nft", "add table inet t; add chain inet t c; add chain inet t d; "+
		"add set inet t bad { type ipv4_addr; }")
	lines := []string{
		`tcp dport 8443 drop`, `tcp dport 8443 reject`, `tcp dport 8443 reject with tcp reset`,
		`tcp dport 8000-8443 drop`, `tcp dport != 22 drop`, `udp dport 53 accept`, `meta l4proto udp drop`,
		`ct state invalid drop`, `ct state established,related accept`, `ct status dnat accept`,
		`iifname "eth0" drop`, `iifname "wg*" drop`, `iifname != "lo" tcp dport 443 drop`,
		`ip saddr 10.0.0.0/8 drop`, `ip saddr 10.1.2.3 drop`, `ip saddr 10.1.0.0/20 drop`,
		`ip daddr 192.0.2.1 tcp dport 443 drop`, `ip6 saddr 2001:db8::/32 drop`, `ip6 daddr 2001:db8::1 drop`,
		`ip saddr @bad drop`, `tcp dport { 80, 443 } drop`, `tcp dport != { 22, 80-90 } drop`,
		`ip saddr { 192.0.2.1, 192.0.2.9 } drop`, `ip6 saddr { 2001:db8::/32, fe80::1-fe80::7 } drop`,
		`ip saddr { 10.0.0.0/8, 192.0.2.1, 192.0.2.3-192.0.2.9, 240.0.0.0/4 } drop`,
		`jump d`, `goto d`, `return`, `meta skuid 1000 drop`,
		`fib daddr type local drop`, `limit rate over 10/second drop`, `log drop`, `meta mark 7 drop`,
		`meta pkttype host drop`,
		`meta nfproto ipv6 drop`, `tcp sport 443 drop`, `fib saddr type local drop`, `fib daddr . iif type local drop`,
		`fib saddr . mark . iif oif missing drop`, `fib saddr oif exists drop`,
	}
	for _, line := range lines {
		host.Run("nft", "add rule inet t c "+line+` comment "by us"`)
	}
	host.Do(func() {
		conn, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "t"}
		list, err := conn.GetRules(table, &nftables.Chain{Name: "c", Table: table})
		if err != nil || len(list) != len(lines) {
			t.Errorf("%d rules, %v", len(list), err)
			return
		}
		var reader Reader
		defer reader.Close()
		for i, line := range lines {
			r, err := reader.Rule(unix.NFPROTO_INET, "t", "c", list[i].Handle)
			if r.Text != line || err != nil || r.Comment != "by us" || r.Number != i+1 ||
				r.Rejects != strings.Contains(line, "reject") {
				t.Errorf("%s: %+v, %v", line, r, err)
			}
		}
		if _, err := reader.Rule(unix.NFPROTO_INET, "t", "c", 99999); err == nil {
			t.Error("a rule that is not there is read")
		}
	})
}

// What was read is kept until a rule changes, of whatever table.
func TestReaderRefresh(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Run("nft", "add table inet t; add chain inet t c; add rule inet t c tcp dport 1 drop")
	var reader Reader
	defer reader.Close()
	read := func(want string, handle uint64) {
		t.Helper()
		if r, err := reader.Rule(unix.NFPROTO_INET, "t", "c", handle); r.Text != want || err != nil {
			t.Errorf("%q, %v, want %q", r.Text, err, want)
		}
	}
	refresh := func(want bool) {
		t.Helper()
		if changed, err := reader.Refresh(); changed != want || err != nil {
			t.Errorf("changed: %v, %v", changed, err)
		}
	}
	host.Do(func() {
		refresh(true)
		read("tcp dport 1 drop", 2)
		refresh(false)
		host.Run("nft", "delete table inet t; add table inet t; add chain inet t c; add rule inet t c tcp dport 2 drop")
		read("tcp dport 1 drop", 2)
		refresh(true)
		read("tcp dport 2 drop", 2)
	})
}
