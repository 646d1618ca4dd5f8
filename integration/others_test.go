package integration

import (
	"os/exec"
	"strings"
	"testing"
)

// A rule of another tool that translates the port of a mapping is told by add; rules for another port, and our own, are
// not.
func TestAddTellsOfRulesOfOthers(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t) // Docker's rules for 8088, firewalld's for 7000 and by hand for 7002
		host.Echo("tcp", "[::]:8443")
		p := b.command(t, host)
		told := func(args ...string) string {
			t.Helper()
			r := p.try(append([]string{"add"}, args...)...)
			if r.Code != 0 {
				t.Fatalf("add %v: %+v", args, r)
			}
			return r.Err
		}
		for _, line := range []string{"443:8443", "8089:8443", "8088:8443/udp"} {
			if got := told(line); strings.Contains(got, "another rule") {
				t.Errorf("add %s says\n%s", line, got)
			}
		}
		for mapping, want := range map[string][]string{
			"8088:8443": {"another rule translates port 8088 already: table ",
				"chain DOCKER: tcp dport 8088 dnat to 172.17.0.2:80 (Docker)", "8443"},
			"7000:8443": {
				"table inet firewalld, chain nat_PREROUTING: tcp dport 7000 redirect to :7001 (firewalld); new " +
					"connections go to port 8443 instead"},
			"7002:8443": {"table ip portmap, chain prerouting: tcp dport 7002 redirect to :7003; "},
		} {
			for _, dry := range []string{"--dry-run", "--temporary"} {
				got := told(mapping, dry)
				if strings.Count(got, "another rule") != 1 {
					t.Errorf("add %s %s says\n%s", mapping, dry, got)
				}
				for _, text := range want {
					if !strings.Contains(got, text) {
						t.Errorf("add %s %s says\n%swithout %q", mapping, dry, got, text)
					}
				}
			}
			if got := told(mapping, "--temporary"); got != "" {
				t.Errorf("add of what is there says\n%s", got)
			}
			if got := told(mapping, "--temporary", "--replace", "--name", "x"+mapping[:4], "-q"); got != "" {
				t.Errorf("add -q says\n%s", got)
			}
		}
	})
}

// A rule by which packets of a mapping are not tracked keeps them from it: add and list say so.
func TestAddTellsOfUntrackedPackets(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Echo("udp", "192.0.2.1:8053")
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet dns {\nchain pre {\n" +
			"type filter hook prerouting priority raw; udp dport 53 notrack\n}\n}\n")
		if r := host.TryCommand(cmd); r.Code != 0 {
			t.Fatal(r.Err)
		}
		p := b.command(t, host)
		p.run("add", "54:8053/udp", "-q")
		if r := p.try("list"); strings.Contains(r.Err, "connection tracking") {
			t.Errorf("list says of another port %+v", r)
		}
		const says = "a rule keeps packets to port 53 out of connection tracking: table inet dns, chain pre: udp " +
			"dport 53 notrack; they do not reach port 8053"
		for _, args := range [][]string{{"add", "53:8053/udp"}, {"list"}, {"list", "-o", "wide"}} {
			if r := p.try(args...); r.Code != 0 || !strings.Contains(r.Err, says) {
				t.Errorf("%v says %+v", args, r)
			}
		}
		if answer, err := client.Ask("udp", "", "192.0.2.1:53"); err != nil || !answer.Refused {
			t.Errorf("what it says is not so: %+v, %v", answer, err)
		}
	})
}
