package servers

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/rules"
)

func TestMain(m *testing.M) { lab.Main(m) }

func find(t testing.TB, h *lab.Host, mappings ...rules.Mapping) (f Found) {
	t.Helper()
	var err error
	h.Do(func() {
		f, err = Find(mappings)
		f.ResolveProcesses()
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		local  string
		v6only bool
		to     string // an address, or a family
		want   bool
	}{
		{"0.0.0.0:1", false, "192.0.2.1", true},
		{"0.0.0.0:1", false, "2001:db8::1", false},
		{"0.0.0.0:1", false, "IPv6", false},
		{"0.0.0.0:1", false, "IPv4", true},
		{"[::]:1", false, "192.0.2.1", true},
		{"[::]:1", false, "2001:db8::1", true},
		{"[::]:1", true, "192.0.2.1", false},
		{"[::]:1", true, "IPv4", false},
		{"[::]:1", true, "IPv6", true},
		{"192.0.2.1:1", false, "192.0.2.1", true},
		{"192.0.2.1:1", false, "192.0.2.2", false},
		{"192.0.2.1:1", false, "IPv4", true},
		{"[::ffff:192.0.2.1]:1", false, "192.0.2.1", true},
		{"[::ffff:192.0.2.1]:1", false, "IPv6", false},
		{"[2001:db8::1]:1", false, "2001:db8::1", true},
		{"[2001:db8::1]:1", false, "IPv4", false},
	} {
		s := socket{local: netip.MustParseAddrPort(c.local), v6only: c.v6only}
		addr, families := netip.Addr{}, rules.BothFamilies
		switch c.to {
		case "IPv4":
			families = rules.IPv4
		case "IPv6":
			families = rules.IPv6
		default:
			addr = netip.MustParseAddr(c.to)
		}
		if got := s.answers(addr, families); got != c.want {
			t.Errorf("a socket on %s (IPv6 only: %v) answers %s: %v, want %v", c.local, c.v6only, c.to, got, c.want)
		}
	}
}

func TestServersBehindMappings(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Echo("tcp", "127.0.0.1:8443", "[::1]:8444", "[::]:8445", "0.0.0.0:8446", "0.0.0.0:9000", "0.0.0.0:9002",
		"127.0.0.1:443")
	host.Echo("udp", "127.0.0.1:8443")
	host.Flow("udp", "127.0.0.1:8443") // connected: a client, no server
	for line, want := range map[string]int{
		"443:8443":           1,
		"443:8443/udp":       1,
		"443:8443/tcp,udp":   1, // one process, one address
		"443:8443 -6":        0,
		"443:8444":           1,
		"443:8444 -4":        0,
		"443:8445 -4":        1,
		"443:8446 -6":        0,
		"192.0.2.1:443:8443": 0,
		"192.0.2.1:443:8445": 1,
		"100-103:9000-9003":  2,
		"443:8447":           0,
		"443:10.0.0.5:8443":  0,
	} {
		m := lab.Mappings(t, line)[0]
		found := find(t, host, m).Of(m)
		if len(found) != want {
			t.Errorf("%s: %d servers, want %d: %+v", line, len(found), want, found)
		}
		for _, s := range found {
			if s.PID != os.Getpid() || s.User != "root" || s.Command == "" {
				t.Errorf("%s: %+v is not this process", line, s)
			}
		}
	}
	m := lab.Mappings(t, "443:8445")[0]
	if shadowed := find(t, host, m).Shadowed(m); len(shadowed) != 1 || shadowed[0].Address != "127.0.0.1:443" {
		t.Errorf("on the listen port: %+v", shadowed)
	}
}

func TestAdvice(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Echo("tcp", "127.0.0.1:8443", "127.0.0.1:8442", "[::1]:8448", "127.0.0.1:8449", "127.0.0.2:8449",
		"0.0.0.0:8444", "0.0.0.0:443", "[::]:446")
	host.Run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	host.Run("ip", "link", "property", "add", "dev", "eth0", "altname", "enp3s0")
	host.Run("ip", "link", "property", "add", "dev", "eth1", "altname", "enp4s0")
	host.Address("eth1", "192.0.2.77/24")
	host.Address("eth1", "192.0.2.78/24")
	host.Echo("tcp", "192.0.2.78:8460")
	host.Run("ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
	host.Run("ip", "-6", "route", "add", "local", "2001:db8:a::/48", "dev", "lo")
	type wants []struct {
		id   finding.ID
		text string
	}
	for line, want := range map[string]wants{
		"80:8080": {
			{finding.NoServer, "no server listens on port 8080/tcp yet; connections are refused until one does"}},
		"80:8444": nil,
		"80:8443": {
			{finding.LoopbackOnly, "listens at 127.0.0.1:8443, where other hosts do not reach it; make it listen on " +
				"every address; or map to that address: sudo portmap add --replace 80:127.0.0.1:8443/tcp"}},
		"80:8443 --name shop --owner root": {
			{finding.LoopbackOnly, "80:127.0.0.1:8443/tcp --name shop --owner root"}},
		"80:8443 -6":        {{finding.NoServer, "no server listens"}},
		"80:8443/tcp,udp":   {{finding.LoopbackOnly, "80:127.0.0.1:8443/tcp,udp"}},
		"80-81:8442-8443":   {{finding.LoopbackOnly, "80-81:127.0.0.1:8442-8443/tcp"}},
		"80:8448":           {{finding.LoopbackOnly, "listens at [::1]:8448, where other hosts"}},
		"80:8449":           {{finding.LoopbackOnly, ":8449, where other hosts do not reach it"}},
		"127.0.0.1:80:8443": nil,
		"443:8444": {
			{finding.ServerShadowed,
				"listens on port 443 itself, at 0.0.0.0:443; new connections go to port 8444 instead"}},
		"443:8080": {{finding.ServerShadowed, "listens on port 443 itself"},
			{finding.NoServer, "no server listens on port 8080/tcp"}},
		"192.0.2.1:80:8443": {{finding.AddressAbsent, "no interface of this host has the address 192.0.2.1 now"},
			{finding.LoopbackOnly, "add --replace 192.0.2.1:80:127.0.0.1:8443/tcp"}},
		"192.0.2.77:80:8460": {{finding.NoServer,
			"listens at 192.0.2.78:8460, and no server at 192.0.2.77 yet; connections are refused until one does"}},
		"80:8444 --interface eth9": {{finding.InterfaceAbsent, "this host has no interface eth9 now"}},
		"80:8444 --interface eth0": nil,
		// Rules know the name alone.
		"80:8444 --interface enp3s0": {
			{finding.InterfaceAltname,
				"enp3s0 is another name of eth0, by which no packet arrives; write --interface eth0"}},
		"198.51.100.7:80:8444":    nil, // a route of type local leads to them
		"[2001:db8:a::7]:80:8444": {{finding.NoServer, "no server listens"}},
		"198.51.101.7:80:8444": {
			{finding.AddressAbsent, "no interface of this host has the address 198.51.101.7 now"}},
		"192.0.2.77:80:8444": nil, // an interface that is down has it
		"443:8444 --interface eth0": {
			{finding.ServerShadowed,
				"at 0.0.0.0:443; new connections that arrive on eth0 go to port 8444 instead; others stay with it"}},
		"8443:8444 --interface eth0": nil, // which only this host reaches
		"443:8444 --source 10.0.0.0/8": {
			{finding.ServerShadowed, "; new connections from 10.0.0.0/8 go to port 8444 instead; others stay with it"}},
		"443:8444 --source 10.1.0.0/16,10.2.0.0/16,10.3.0.0/16,10.4.0.0/16": {
			{finding.ServerShadowed, "from 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, and 1 more go"}},
		"198.51.100.7:443:8444": {
			{finding.ServerShadowed, "new connections to 198.51.100.7 go to port 8444 instead; others stay with it"}},
		"446:8444": {{finding.ServerShadowed, "at [::]:446; new connections go to port 8444 instead"}},
		"446:8444 -4": {
			{finding.ServerShadowed,
				"at [::]:446; new connections over IPv4 go to port 8444 instead; others stay with it"}},
		"8444:444": {{finding.ServerShadowed, "listens on port 8444 itself"},
			{finding.PortsSwapped,
				"the public port comes first; to swap them: sudo portmap remove 8444 && sudo portmap add " +
					"444:8444/tcp"}},
		"440-445:8440-8445": {
			{finding.ServerShadowed, "listens on port 443 itself, at 0.0.0.0:443; new connections go to port 8443"}},
		"90:10.0.0.5:8443":  nil,
		"443:10.0.0.5:8443": {{finding.ServerShadowed, "listens on port 443 itself"}},
		"443:8444/udp":      {{finding.NoServer, "no server listens on port 8444/udp yet"}},
	} {
		m := lab.Mappings(t, line)[0]
		found := find(t, host, m)
		var got []finding.Finding
		host.Do(func() { got = Advise([]rules.Mapping{m}, found, pasted) })
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && got[i].ID == want[i].id && got[i].Mapping.Equal(m) &&
				strings.Contains(got[i].Line(), want[i].text)
		}
		if !ok {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{"80:8448", "80:8449"} { // to which no mapping leads, or not to both
		host.Do(func() {
			m := lab.Mappings(t, line)[0]
			if got := Advise([]rules.Mapping{m}, find(t, host, m), pasted); got[0].Remedy != "" {
				t.Errorf("%s: %s", line, got[0].Remedy)
			}
		})
	}
	if got := Advise([]rules.Mapping{lab.Mappings(t, "1:2")[0]}, Found{}, pasted); got != nil {
		t.Errorf("nothing was found out, and the advice is %q", got)
	}
}

// Thousands of sockets: each is found, and /proc is walked once.
func TestManyServers(t *testing.T) {
	host := lab.New(t).Host("host")
	var mappings []rules.Mapping
	host.Do(func() {
		for i := range 3000 {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+i))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { l.Close() })
			mappings = append(mappings, lab.Mappings(t, fmt.Sprintf("%d:%d", 1000+i, 20000+i))[0])
		}
	})
	f := find(t, host, mappings...)
	for _, m := range mappings {
		if found := f.Of(m); len(found) != 1 || found[0].PID != os.Getpid() {
			t.Fatalf("%s: %+v", m, found)
		}
	}
}

// Of several processes with the same socket, the first is named; what may not be looked into is passed over.
func TestProcesses(t *testing.T) {
	proc := t.TempDir()
	add := func(pid, comm string, links ...string) {
		dir := filepath.Join(proc, pid, "fd")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if comm != "" {
			if err := os.WriteFile(filepath.Join(proc, pid, "comm"), []byte(comm+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for i, link := range links {
			if err := os.Symlink(link, filepath.Join(dir, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	add("812", "node", "socket:[77]", "/dev/null", "socket:[x]")
	add("90", "master", "pipe:[77]", "socket:[77]")
	add("1000", "e\x1b[2Jvil", "socket:[78]")
	add("self", "no process", "socket:[78]")
	add("7", "other", "socket:[99]")
	if err := os.MkdirAll(filepath.Join(proc, "5"), 0o755); err != nil { // its fd folder is not ours to see
		t.Fatal(err)
	}
	got := processes(proc, map[uint32]bool{77: true, 78: true, 79: true})
	if len(got) != 2 || got[77] != (process{pid: 90, command: "master"}) ||
		got[78] != (process{pid: 1000, command: "e?[2Jvil"}) {
		t.Errorf("%+v", got)
	}
	if got := processes(filepath.Join(proc, "nosuch"), nil); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func BenchmarkFind(b *testing.B) {
	m := lab.Mappings(b, "443:8443")[0]
	for b.Loop() {
		if _, err := Find([]rules.Mapping{m}); err != nil {
			b.Fatal(err)
		}
	}
}

func pasted(words ...string) string { return "sudo portmap " + strings.Join(words, " ") }

// A name that is more than a word cannot be taken for a PID or a user.
func TestServerNames(t *testing.T) {
	for command, want := range map[string]string{
		"node": "node", "nginx:_x": "nginx:_x", "python3.11": "python3.11", "PM2 v7: God": `"PM2 v7: God"`,
		"node /home/rwse": `"node /home/rwse"`,
		"sshd[1]":         `"sshd[1]"`, `a"b`: `"a\"b"`, "": `""`, "(sd-pam)": `"(sd-pam)"`,
	} {
		if got := (Server{Command: command}).Name(); got != want {
			t.Errorf("%q: %s, want %s", command, got, want)
		}
	}
}
