package servers

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// What a mapping takes from whom, socket by socket.
func TestGuard(t *testing.T) {
	n := lab.New(t)
	host, client := n.Host("host"), n.Host("client")
	n.Link(host, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
	host.Echo("tcp", "0.0.0.0:443", "[2001:db8::1]:443", "127.0.0.1:80", "192.0.2.1:81", "[::]:82",
		"0.0.0.0:8443", "[::]:8444", "127.0.0.1:8445", "[2001:db8::1]:8446", "192.0.2.1:8447")
	host.Echo("udp", "0.0.0.0:443", "0.0.0.0:53", "0.0.0.0:40000", "0.0.0.0:8444")
	for line, cutOff := range map[string]bool{
		"443:8444":                        false,
		"443:8444/tcp,udp":                false,
		"443:8443":                        true, // IPv6
		"443:8443 -4":                     false,
		"443:8443/udp":                    true,
		"443:8446 -6":                     false,
		"443:8446":                        true, // IPv4
		"443:8447 -4":                     false,
		"443:8445 -4":                     true, // for others there is no server
		"127.0.0.1:443:8445":              false,
		"192.0.2.1:443:8445":              true,
		"192.0.2.1:443:8447":              false,
		"192.0.2.9:443:8447":              true, // an address that comes later
		"80:8447 -4":                      true, // this host itself
		"80:8445":                         false,
		"80:9999 --interface eth0":        false, // which are not its connections
		"81:8447":                         false,
		"81:8445":                         true,
		"81:9999 -6":                      false,
		"192.0.2.9:81:9999":               false,
		"82:8443":                         true, // IPv6
		"82:8444":                         false,
		"443:9999 --interface eth0":       true,
		"443:9999 --source 10.0.0.0/8 -4": true,
		"53:9999":                         false,
		"53:9999/udp":                     true,
		"40000:9999/udp":                  false, // most likely a client
		"441-445:8443-8447":               true,
		"441-443:8442-8444":               false,
		"443:10.0.0.5:8443":               false, // not to be seen from here
	} {
		m := lab.Mappings(t, line)[0]
		var err error
		host.Do(func() {
			found, findErr := Find([]rules.Mapping{m})
			if err = findErr; err == nil {
				err = Guard([]Incoming{{Mapping: m}}, &found)
			}
		})
		var cut *CutOffError
		if errors.As(err, &cut) != cutOff || err != nil && cut == nil {
			t.Errorf("%s: %v; want a refusal: %v", line, err, cutOff)
		}
		if cut != nil && cut.Server.PID != os.Getpid() {
			t.Errorf("%s: the server is not named: %v", line, err)
		}
	}
}

// A mapping that takes another's place takes its clients, and no one else's.
func TestGuardOfReplacements(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Echo("tcp", "0.0.0.0:443", "0.0.0.0:444", "0.0.0.0:8443", "0.0.0.0:9001")
	for _, c := range []struct {
		line   string
		old    []string
		cutOff bool
	}{
		{"443:8443 --name shop", []string{"443:8443"}, false},
		{"443:9999", []string{"443:8443"}, true},
		{"443:9999", []string{"443:9998"}, false}, // they were cut off before
		{"443-444:9999-10000", []string{"443:9998"}, true},
		{"443:9999/udp", []string{"443:8443/tcp,udp"}, false},
		{"8001:9999", []string{"8000-8010:9000-9010"}, true},
		{"8002:9999", []string{"8000-8010:9000-9010"}, false},
		{"192.0.2.9:443:9999", []string{"192.0.2.9:443:8443"}, true},
		{"443:9999 -6", []string{"443:8443"}, false},
		{"443:9001", []string{"443:8443"}, false},
	} {
		m := lab.Mappings(t, c.line)[0]
		var err error
		host.Do(func() {
			found, findErr := Find([]rules.Mapping{m})
			if err = findErr; err == nil {
				err = Guard([]Incoming{{m, lab.Mappings(t, c.old...)}}, &found)
			}
		})
		if (err != nil) != c.cutOff {
			t.Errorf("%s in the place of %v: %v; want a refusal: %v", c.line, c.old, err, c.cutOff)
		}
	}
}

// The socket of sshd may be systemd's as well, which has the lower PID.
func TestSSHServers(t *testing.T) {
	proc := t.TempDir()
	for pid, comm := range map[string]string{"1": "systemd", "700": "sshd", "701": "node", "702": "dropbear"} {
		dir := filepath.Join(proc, pid, "fd")
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(comm),
			0o644)); err != nil {
			t.Fatal(err)
		}
		for inode, pids := range map[string][]string{"77": {"1", "700"}, "78": {"701"}, "79": {"702"},
			"80": {"1", "701"}, "81": {"700", "701"}} {
			for _, p := range pids {
				if p == pid {
					if err := os.Symlink("socket:["+inode+"]", filepath.Join(dir, inode)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	got := processes(proc, map[uint32]bool{77: true, 78: true, 79: true, 80: true, 81: true})
	for inode, want := range map[uint32]process{
		77: {1, "systemd", true}, 78: {701, "node", false}, 79: {702, "dropbear", true}, 80: {1, "systemd", false},
		81: {700, "sshd", true},
	} {
		if got[inode] != want {
			t.Errorf("socket %d: %+v, want %+v", inode, got[inode], want)
		}
	}
}

// Before the first connection, systemd alone has the socket of ssh.socket. Another one's server on port 22 is no SSH
// server.
func TestSocketOfSSH(t *testing.T) {
	for _, c := range []struct {
		protocol rules.Protocols
		port     uint16
		pid      int
		want     bool
	}{
		{rules.TCP, 22, 1, true},
		{rules.TCP, 22, 700, false},
		{rules.TCP, 22, 0, false},
		{rules.TCP, 2222, 1, false},
		{rules.UDP, 22, 1, false},
	} {
		found := Found{who: map[uint32]process{77: {pid: c.pid, command: "some"}}, users: map[uint32]string{0: "root"}}
		s := socket{protocol: c.protocol, local: netip.AddrPortFrom(netip.IPv6Unspecified(), c.port), inode: 77}
		if got := found.server(s).SSH; got != c.want {
			t.Errorf("%s port %d of process %d: SSH is %t", c.protocol, c.port, c.pid, got)
		}
	}
}
