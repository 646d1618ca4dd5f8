package integration

import (
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// What others have on the host is the same, byte for byte, whatever portmap does.
func TestForeignRulesAreUntouched(t *testing.T) {
	host, _ := barePair(t)
	host.SeedForeign()
	before := host.Foreign()
	p := command(t, host)
	for _, step := range [][]string{
		{"add", "443:8443/tcp,udp", "192.0.2.1:80:8080"},
		{"add", "8000-8010:9000-9010", "--source", "10.0.0.0/8,2001:db8::/32", "--temporary"},
		{"add", "443:9443/tcp,udp", "--replace"},
		{"list"}, {"diff"}, {"apply"},
		{"remove", "80"}, {"flush"}, {"apply"}, {"remove", "--all"},
	} {
		p.run(step...)
		if after := host.Foreign(); after != before {
			t.Fatalf("after %v the rules of others were\n%s\nand are\n%s", step, before, after)
		}
	}
	if rest := host.Ruleset(); strings.Contains(rest, "inet portmap {") {
		t.Errorf("nothing is mapped, and there still is\n%s", rest)
	}
}

// Someone else flushes everything: list says so, apply heals it, and add heals what it is asked for again.
func TestFlushedBySomeoneElse(t *testing.T) {
	host, _ := barePair(t)
	p := command(t, host)
	p.run("add", "443:8443", "80:8080")
	host.Run("nft", "flush", "ruleset")
	if out := p.run("list"); strings.Count(out, "missing") != 2 {
		t.Errorf("list says\n%s", out)
	}
	if out := p.run("add", "443:8443"); out != "added 443:8443/tcp\n" {
		t.Errorf("add of what was lost says %q", out)
	}
	if r := p.try("diff"); r.Code != 1 || r.Out != "+80:8080/tcp\n" {
		t.Errorf("diff: %+v", r)
	}
	if out := p.run("apply"); out != "added 80:8080/tcp\n" {
		t.Errorf("apply says %q", out)
	}
	if r := p.try("diff"); r.Code != 0 || r.Out != "" {
		t.Errorf("diff after apply: %+v", r)
	}
}

// Someone else damages the table: it is said, and apply makes it anew.
func TestDamagedBySomeoneElse(t *testing.T) {
	for _, damage := range []string{
		"flush chain inet portmap mapped",
		"flush chain inet portmap output",
		"flush map inet portmap ports",
		"delete element inet portmap ports { tcp . 8001 }",
		"add element inet portmap ports { tcp . 99 : 98 }",
		"add rule inet portmap prerouting tcp dport 99 redirect to :98",
		"flush chain inet portmap prerouting ; delete chain inet portmap prerouting",
		"add table inet portmap { flags dormant ; }",
		"delete table inet portmap",
	} {
		t.Run(damage, func(t *testing.T) {
			host, client := pair(t)
			host.Echo("tcp", "192.0.2.1:9001")
			p := command(t, host)
			p.run("add", "8000-8010:9000-9010")
			p.run("add", "70:7070", "--source", "192.0.2.0/24")
			p.run("add", "71:7071", "--temporary")
			host.Run("nft", damage)
			if r := p.try("diff"); r.Code != 1 {
				t.Errorf("diff finds nothing: %+v", r)
			}
			p.run("apply")
			if r := p.try("diff"); r.Code != 0 {
				t.Errorf("apply did not mend it: %+v", r)
			}
			if answer, err := client.Ask("tcp", "", "192.0.2.1:8001"); err != nil || answer.Server.Port() != 9001 {
				t.Errorf("%+v, %v", answer, err)
			}
		})
	}
}

// A host that saves its rules with nft boots with them: what portmap wrote must load again, and mean the same.
func TestSavedRulesetLoads(t *testing.T) {
	host, client := barePair(t)
	host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:9002")
	p := command(t, host)
	p.run("add", "443:8443/tcp,udp", "80:8080", "192.0.2.1:81:8081", "[2001:db8::1]:82:8082")
	p.run("add", "83:8083", "-4")
	p.run("add", "8000-8010:9000-9010", "--source", "192.0.2.0/25,192.0.2.128/25,2001:db8::/32,10.0.0.1", "--interface", "eth0")
	p.run("add", "90:9090", "--name", strings.Repeat("n", 63), "--source", "10.0.0.0/9,10.200.0.0/16,172.16.0.0/12,192.168.0.0/16,2001:db8:1::/48,2001:db8:2::/48")
	saved := host.Ruleset()
	host.Run("nft", "flush", "ruleset")
	load(t, host, saved)
	if r := p.try("diff"); r.Code != 0 {
		t.Errorf("what was loaded is not what was saved: %+v", r)
	}
	for asked, served := range map[string]uint16{"443": 8443, "8002": 9002} {
		if answer, err := client.Ask("tcp", "", "192.0.2.1:"+asked); err != nil || answer.Server.Port() != served {
			t.Errorf("port %s: %+v, %v", asked, answer, err)
		}
	}
}

// The exported text does the same as add, and add reads what it made.
func TestExportLoads(t *testing.T) {
	host, client := pair(t)
	host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:9002")
	p := command(t, host)
	p.run("add", "443:8443/tcp,udp", "192.0.2.1:81:8081", "[2001:db8::1]:82:8082/udp")
	p.run("add", "83:8083", "-6")
	p.run("add", "8000-8010:9000-9010/tcp,udp", "--source", "192.0.2.0/25,192.0.2.128/25,2001:db8::/32")
	p.run("add", "84:8084", "--interface", "eth0", "--name", strings.Repeat("n", 63), "--source", "10.0.0.0/9,10.200.0.0/16,172.16.0.0/12,192.168.0.0/16,2001:db8:1::/48")
	text := p.run("export", "--format", "nft")
	byAdd := host.Run("nft", "-s", "list", "table", "inet", "portmap")
	p.run("flush")
	load(t, host, text)
	load(t, host, text) // it takes its own place
	if byExport := host.Run("nft", "-s", "list", "table", "inet", "portmap"); sameSets(byExport) != sameSets(byAdd) {
		t.Errorf("add made\n%s\nthe export made\n%s", byAdd, byExport)
	}
	if r := p.try("diff"); r.Code != 0 {
		t.Errorf("diff: %+v", r)
	}
	for asked, served := range map[string]uint16{"443": 8443, "8002": 9002} {
		if answer, err := client.Ask("tcp", "", "192.0.2.1:"+asked); err != nil || answer.Server.Port() != served {
			t.Errorf("port %s: %+v, %v", asked, answer, err)
		}
	}
	p.run("remove", "443")
}

// sameSets takes the braces off sets of one element: nft loads those as plain comparisons.
func sameSets(listing string) string {
	var lines []string
	for _, line := range strings.Split(listing, "\n") {
		if !strings.Contains(line, "elements") && strings.Count(line, ",") == 0 {
			line = strings.NewReplacer("{ ", "", " }", "").Replace(line)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func load(t *testing.T, host *lab.Host, ruleset string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if r := host.TryCommand(cmd); r.Code != 0 {
		t.Fatalf("nft -f: %s", r.Err)
	}
}
