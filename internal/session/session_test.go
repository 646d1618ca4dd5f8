package session

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestFromEnvironment(t *testing.T) {
	for value, want := range map[string]Connection{
		"198.51.100.9 50022 192.0.2.1 22": {
			netip.MustParseAddr("198.51.100.9"), netip.MustParseAddrPort("192.0.2.1:22")},
		"2001:db8::9 50022 2001:db8::1 2222": {
			netip.MustParseAddr("2001:db8::9"), netip.MustParseAddrPort("[2001:db8::1]:2222")},
		"::ffff:198.51.100.9 50022 ::ffff:192.0.2.1 22": {
			netip.MustParseAddr("198.51.100.9"), netip.MustParseAddrPort("192.0.2.1:22")},
		"fe80::9%eth0 50022 fe80::1%eth0 22": {netip.MustParseAddr("fe80::9"), netip.MustParseAddrPort("[fe80::1]:22")},
		"":                                   {},
		"198.51.100.9 50022":                 {},
		"a 1 192.0.2.1 22":                   {},
		"198.51.100.9 1 b 22":                {},
		"198.51.100.9 1 192.0.2.1 99999":     {},
	} {
		got, ok := FromEnvironment(func(string) string { return value })
		if got != want || ok != (want != Connection{}) {
			t.Errorf("%q: %+v, %v", value, got, ok)
		}
	}
}

// sudo removes the variable; a parent process still has it.
func TestFromParents(t *testing.T) {
	proc := t.TempDir()
	add := func(pid, parent int, environment string) {
		dir := filepath.Join(proc, fmt.Sprint(pid))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"stat": fmt.Sprintf("%d (a ) b) S %d 1 1", pid, parent), "environ": environment,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	me := os.Getppid()
	if _, ok := FromParents(proc); ok {
		t.Error("found one in an empty /proc")
	}
	add(me, 100001, "HOME=/root\x00")
	add(100001, 100002, "SUDO_USER=alice\x00")
	add(100002, 1, "TERM=x\x00SSH_CONNECTION=198.51.100.9 50022 192.0.2.1 22\x00")
	if got, ok := FromParents(proc); !ok || got.Server.Port() != 22 {
		t.Errorf("%+v, %v", got, ok)
	}
	add(100002, me, "") // a circle ends
	if _, ok := FromParents(proc); ok {
		t.Error("found one in a circle")
	}
}
