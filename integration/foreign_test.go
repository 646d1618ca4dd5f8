package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
)

// What others have on the host is the same, byte for byte, whatever portmap does.
func TestForeignRulesAreUntouched(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		host.SeedForeign()
		before := host.Foreign()
		p := b.command(t, host)
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
		if rest := ownRules(b.save(host)); rest != "" {
			t.Errorf("nothing is mapped, and there still is\n%s", rest)
		}
	})
}

// Someone else flushes everything: list says so, apply heals it, and add heals what it is asked for again.
func TestFlushedBySomeoneElse(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443", "80:8080")
		b.flush(host)
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
	})
}

// damages is what somebody can do to the rules of a host that maps 8000-8010, 70 and 71.
func (b backend) damages() (list []string) {
	if b.name == "nft" {
		for _, d := range []string{
			"flush chain inet portmap mapped",
			"flush chain inet portmap output",
			"flush map inet portmap ports",
			"delete element inet portmap ports { tcp . 8001 }",
			"add element inet portmap ports { tcp . 99 : 98 }",
			"flush chain inet portmap texts",
			"flush chain inet portmap guard_output",
			"flush set inet portmap targets",
			"flush chain inet portmap prerouting ; delete chain inet portmap prerouting",
			"add table inet portmap { flags dormant ; }",
			"delete table inet portmap",
		} {
			list = append(list, "nft "+d)
		}
		return list
	}
	for i, tool := range b.tools {
		list = append(list, tool+" -t nat -F", tool+" -t nat -D PORTMAP 3", tool+" -t mangle -D PORTMAP-LISTEN 1",
			tool+" -t nat -R PORTMAP 2 -p tcp --dport 8001 -m comment --comment 8000-8010:9000-9010/tcp -j DNAT "+
				"--to-destination :9009")
		// Rules of both variants and families are read by the same code.
		if i > 0 || b.name != string(ipt.NFTables) {
			continue
		}
		for _, d := range []string{
			"-F PORTMAP",
			"-D OUTPUT -m addrtype --dst-type LOCAL -j PORTMAP",
			"-A PREROUTING -m addrtype --dst-type LOCAL -j PORTMAP",
			"-R PORTMAP 3 -i eth9 -p tcp --dport 8001 -m comment --comment 8000-8010:9000-9010/tcp -j DNAT " +
				"--to-destination :9001",
			"-R OUTPUT 1 -j PORTMAP",
			"-N PORTMAP-TCP-0-32767",
		} {
			list = append(list, tool+" -t nat "+d)
		}
		for _, d := range []string{
			"-F",
			"-R PORTMAP-TARGET 1 -p tcp --sport 9000 -m comment --comment portmap -j DROP",
			"-D OUTPUT -p tcp -m conntrack --ctstate INVALID -j PORTMAP-TARGET",
			"-A PREROUTING -p tcp -m conntrack --ctstate INVALID -j PORTMAP-INVALID",
		} {
			list = append(list, tool+" -t mangle "+d)
		}
	}
	return list
}

// Someone else damages the rules: it is said, and apply makes them anew.
func TestDamagedBySomeoneElse(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:9001", "[2001:db8::1]:9001")
		p := b.command(t, host)
		p.run("add", "8000-8010:9000-9010")
		p.run("add", "70:7070", "--source", "192.0.2.0/24,10.0.0.0/8,2001:db8::/32")
		for _, damage := range b.damages() {
			t.Run(damage, func(t *testing.T) {
				if !strings.Contains(texts(b.live(t, host)), "71:7071") { // the damage before took it away
					p.run("add", "71:7071", "--temporary")
				}
				words := strings.Fields(damage)
				host.Run(words[0], words[1:]...)
				if strings.HasSuffix(damage, " -t nat -F") { // others' rules went, too
					host.SeedJumps(words[0])
				}
				if r := p.try("diff"); r.Code != 1 {
					t.Errorf("diff finds nothing: %+v", r)
				}
				p.run("apply")
				if r := p.try("diff"); r.Code != 0 {
					t.Errorf("apply did not mend it: %+v", r)
				}
				for _, address := range []string{"192.0.2.1", "[2001:db8::1]"} {
					if answer, err := client.Ask("tcp", "", address+":8001"); err != nil ||
						answer.Server.Port() != 9001 {
						t.Errorf("%+v, %v", answer, err)
					}
				}
			})
		}
	})
}

// A rule of others before the jump that takes every packet leaves none for the mappings. It stays where it is, behind
// the jump.
func TestRuleBeforeTheJump(t *testing.T) {
	for _, b := range backends()[1:] {
		t.Run(b.name, func(t *testing.T) {
			host, client := b.barePair(t)
			host.Echo("tcp", "192.0.2.1:8443")
			p := b.command(t, host)
			p.run("add", "443:8443")
			for _, rule := range []string{"PREROUTING -j RETURN", "OUTPUT -j ACCEPT"} {
				host.Run(b.tools[0], strings.Fields("-t nat -I "+rule)...)
				want := "a rule of others before the jump of portmap takes every packet: -A " + rule
				got := p.run("list", "-o", "json")
				if !strings.Contains(got, want) || !strings.Contains(got, `"state":"damaged"`) {
					t.Errorf("list does not say %q: %s", want, got)
				}
				p.run("apply")
				for _, from := range []*lab.Host{host, client} {
					if answer, err := from.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
						t.Errorf("%+v, %v", answer, err)
					}
				}
				host.Run(b.tools[0], strings.Fields("-t nat -C "+rule)...)
				if r := p.try("diff"); r.Code != 0 {
					t.Errorf("apply did not mend it: %+v", r)
				}
			}
		})
	}
}

// A host that saves its rules with its own tools boots with them: what portmap wrote must load again, and mean the
// same.
func TestSavedRulesLoad(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:9002")
		p := b.command(t, host)
		p.run("add", "443:8443/tcp,udp", "80:8080", "192.0.2.1:81:8081", "[2001:db8::1]:82:8082")
		p.run("add", "83:8083", "-4")
		p.run("add", "8000-8010:9000-9010", "--source", "192.0.2.0/25,192.0.2.128/25,2001:db8::/32,10.0.0.1",
			"--interface", "eth0")
		p.run("add", "90:9090", "--name", strings.Repeat("n", 63), "--source", longSources)
		p.run(append([]string{"add"}, withTargets...)...)
		p.run("add", "100:9100", "--owner", "1000", "--hide")
		saved := b.save(host)
		b.flush(host)
		b.load(t, host, saved)
		if r := p.try("diff"); r.Code != 0 {
			t.Errorf("what was loaded is not what was saved: %+v", r)
		}
		for asked, served := range map[string]uint16{"443": 8443, "8002": 9002} {
			if answer, err := client.Ask("tcp", "", "192.0.2.1:"+asked); err != nil || answer.Server.Port() != served {
				t.Errorf("port %s: %+v, %v", asked, answer, err)
			}
		}
	})
}

// withTargets are mappings to other hosts, to loopback, and to several targets.
var withTargets = []string{"91:10.0.0.5:9091,[2001:db8:5::5]:9091/tcp,udp", "192.0.2.1:92:127.0.0.1:9092",
	"93-94:9093-9094,9193-9194/tcp,udp", "192.0.2.1:95:10.0.0.5:9095,10.0.0.6:9095"}

// longSources make a mapping's text longer than any comment.
const longSources = "10.0.0.0/9,10.200.0.0/16,172.16.0.0/12,192.168.0.0/16,198.18.0.0/15,203.0.113.0/24," +
	"2001:db8:1::/48,2001:db8:2::/48,2001:db8:4::/48,2001:db8:6::/48,2001:db8:8::/48,2001:db8:a::/48"

// exports returns the rules as text, for load.
func (b backend) exports(p portmap) (texts []string) {
	if b.name == "nft" {
		return []string{p.run("export", "--format", "nft")}
	}
	return []string{p.run("export", "--format", "iptables"), p.run("export", "--format", "iptables", "-6")}
}

// The exported text does the same as add, and add reads what it made.
func TestExportLoads(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:9002")
		p := b.command(t, host)
		p.run("add", "443:8443/tcp,udp", "192.0.2.1:81:8081", "[2001:db8::1]:82:8082/udp")
		p.run("add", "83:8083", "-6")
		p.run("add", "8000-8010:9000-9010/tcp,udp", "--source", "192.0.2.0/25,192.0.2.128/25,2001:db8::/32")
		p.run("add", "84:8084", "--interface", "eth0", "--name", strings.Repeat("n", 63), "--source", longSources)
		p.run(append([]string{"add"}, withTargets...)...)
		p.run("add", "100:9100", "--owner", "1000", "--hide")
		texts := b.exports(p)
		byAdd := ownRules(b.save(host))
		p.run("flush")
		b.load(t, host, texts)
		if b.name == "nft" {
			b.load(t, host, texts) // it takes its own place
		}
		if byExport := ownRules(b.save(host)); sameSets(byExport) != sameSets(byAdd) {
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
	})
}

// ownRules returns what is portmap's of saved texts, without counters; of nft's the table, of iptables' the lines.
func ownRules(saved []string) string {
	all := strings.Join(saved, "")
	if table := regexp.MustCompile(`(?ms)^table inet portmap \{\n.*?^\}\n`).FindString(all); table != "" {
		return regexp.MustCompile(`packets \d+ bytes \d+`).ReplaceAllString(table, "")
	}
	var lines []string
	for _, line := range strings.Split(all, "\n") {
		if strings.HasPrefix(line, "-A") && strings.Contains(line, "PORTMAP") && !strings.Contains(line, "PORTMAP-x") {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines) // chains are printed in the order in which they came
	return strings.Join(lines, "\n")
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
