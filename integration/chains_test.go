package integration

import (
	"maps"
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
)

// What others have in a chain with our name is theirs, whatever its comments look like: nothing reads it as ours,
// nothing changes it, nor the jump that leads to it; it is named, with what cures it.
func TestForeignChainIsLeftAlone(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		foreign := map[string]string{
			"a mapping": "-p tcp --dport 443 -m comment --comment 443:8443/tcp -j REDIRECT --to-ports 8443",
		}
		if b.name == string(ipt.NFTables) { // rules of both variants are read by the same code
			maps.Copy(foreign, map[string]string{
				"a URL": "-p tcp --dport 99 -m comment --comment https://example.com/99 -j REDIRECT " +
					"--to-ports 98",
				"one of portmap's":  "-p tcp --dport 443 -j DNAT --to-destination :8443",
				"a mark":            "-p tcp --dport 443 -m comment --comment ~x:/ -j DNAT --to-destination :8443",
				"a rule of no port": "-j RETURN",
			})
		}
		for name, rule := range foreign {
			t.Run(name, func(t *testing.T) {
				host, _ := b.barePair(t)
				for _, tool := range b.tools {
					host.Run(tool, "-t", "nat", "-N", "PORTMAP")
					host.Run(tool, append([]string{"-t", "nat", "-A", "PORTMAP"}, strings.Fields(rule)...)...)
					host.Run(tool, "-t", "nat", "-A", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j",
						"PORTMAP")
				}
				p := b.command(t, host)
				unchanged(t, p, "a chain PORTMAP is there that is not portmap's\n  give it another name: sudo ",
					"add", "443:8443")
				before := host.Ruleset()
				for _, args := range [][]string{{"list"}, {"diff"}, {"apply"}, {"flush"}, {"remove", "--all"}} {
					if r := p.try(args...); r.Code != 0 {
						t.Errorf("%v: %+v", args, r)
					}
					if after := host.Ruleset(); after != before {
						t.Errorf("%v changed the rules:\n%s", args, lineDiff(before, after))
					}
				}
				for _, tool := range b.tools {
					host.Run(tool, "-t", "nat", "-E", "PORTMAP", "SITE")
				}
				p.run("add", "443:8443")
				consistent(t, p)
			})
		}
	})
}

// A rule that somebody put into a chain of ours is named before anything would be deleted with it, and taking it out is
// all that it takes.
func TestForeignRuleInOurChain(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		for _, damage := range []struct{ table, rule string }{
			{"nat", "-I PORTMAP 1 -p tcp -m tcp --dport 99 -j REDIRECT --to-ports 98"},
			{"nat", "-A PORTMAP -p tcp -m tcp --dport 443 -j RETURN"},
			{"nat", "-R PORTMAP 1 -p tcp -m tcp --dport 443 -m comment --comment by:hand/ -j RETURN"},
			{"mangle", "-A PORTMAP-LISTEN -p tcp -m tcp --dport 443 -j DROP"},
		} {
			for i, tool := range b.tools {
				// Rules of both variants and families are read by the same code.
				if damage.table == "nat" && (i > 0 || b.name != string(ipt.NFTables)) {
					continue
				}
				t.Run(tool+" -t "+damage.table+" "+damage.rule, func(t *testing.T) {
					host, client := b.barePair(t)
					host.Echo("tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
					rule := damage.rule
					p := b.command(t, host)
					p.run("add", "443:8443", "80:8080")
					host.Run(tool, append([]string{"-t", damage.table}, strings.Fields(rule)...)...)
					remedy, before := "", host.Ruleset()
					for _, args := range [][]string{{"apply"}, {"flush"}, {"remove", "--all"}} {
						r := p.try(args...)
						_, says, found := strings.Cut(r.Err, ": a rule of others stands in PORTMAP")
						if r.Code != 1 || !found || !strings.Contains(says, "\n  to take it out: sudo /") {
							t.Fatalf("%v: %+v", args, r)
						}
						if after := host.Ruleset(); after != before {
							t.Errorf("%v changed the rules:\n%s", args, lineDiff(before, after))
						}
						_, remedy, _ = strings.Cut(says, "\n  to take it out: sudo ")
					}
					for _, command := range []string{"diff", "list"} {
						if r := p.try(command); !strings.Contains(r.Err, "a rule of others stands in PORTMAP") ||
							!strings.Contains(r.Err, "); to take it out: sudo "+remedy) {
							t.Errorf("%s: %+v", command, r)
						}
					}
					if r := host.TryCommand(exec.Command("sh", "-c", remedy)); r.Code != 0 {
						t.Fatalf("%s: %+v", remedy, r)
					}
					p.run("apply")
					consistent(t, p)
					for _, address := range []string{"192.0.2.1", "[2001:db8::1]"} {
						if answer, err := client.Ask("tcp", "", address+":443"); err != nil ||
							answer.Server.Port() != 8443 {
							t.Errorf("%+v, %v", answer, err)
						}
					}
				})
			}
		}
	})
}

// Docker publishes the port that is mapped, before portmap or after it: the mapping wins. One who puts a rule before
// ours is not fought; when all rules were lost, ours stand first again.
func TestMappingWinsInEveryOrder(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		publish := func(h *lab.Host, how string) {
			for _, tool := range b.tools {
				h.Run(tool, "-t", "nat", "-N", "DOCKER")
				h.Run(tool, "-t", "nat", "-A", "DOCKER", "-p", "tcp", "--dport", "443", "-j", "DNAT",
					"--to-destination", ":7443")
				for _, chain := range []string{"PREROUTING", "OUTPUT"} {
					h.Run(tool, "-t", "nat", how, chain, "-m", "addrtype", "--dst-type", "LOCAL", "-j", "DOCKER")
				}
			}
		}
		serve := func(t *testing.T) (host, client *lab.Host) {
			host, client = b.barePair(t)
			host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:7443", "[2001:db8::1]:8443", "[2001:db8::1]:7443")
			return host, client
		}
		reach := func(t *testing.T, port uint16, from ...*lab.Host) {
			t.Helper()
			for _, f := range from {
				for _, address := range []string{"192.0.2.1", "[2001:db8::1]"} {
					if answer, err := f.Ask("tcp", "", address+":443"); err != nil || answer.Server.Port() != port {
						t.Errorf("from %s: %+v, %v; want port %d", f.Name, answer, err, port)
					}
				}
			}
		}
		t.Run("mapping first", func(t *testing.T) {
			host, client := serve(t)
			b.add(t, host, "443:8443")
			publish(host, "-A")
			reach(t, 8443, client, host)
		})
		t.Run("other first", func(t *testing.T) {
			host, client := serve(t)
			publish(host, "-A")
			b.add(t, host, "443:8443")
			reach(t, 8443, client, host)
		})
		t.Run("one jump lost", func(t *testing.T) {
			host, client := serve(t)
			p := b.command(t, host)
			p.run("add", "443:8443")
			publish(host, "-A")
			for _, tool := range b.tools {
				for _, chain := range []string{"PREROUTING", "OUTPUT"} {
					host.Run(tool, "-t", "nat", "-D", chain, "-m", "addrtype", "--dst-type", "LOCAL", "-j", "PORTMAP")
				}
			}
			reach(t, 7443, client, host)
			p.run("apply")
			reach(t, 8443, client, host)
		})
		t.Run("put before ours", func(t *testing.T) {
			host, client := serve(t)
			p := b.command(t, host)
			p.run("add", "443:8443")
			publish(host, "-I")
			consistent(t, p)
			p.run("apply")
			reach(t, 7443, client, host)
			p.run("flush")
			p.run("apply")
			reach(t, 8443, client, host)
		})
	})
}

// Where /proc is not mounted, as in some containers, neither family is left out, and rules of iptables-legacy are seen.
func TestWithoutProc(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Echo("tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		p := b.command(t, host)
		blind := func(args ...string) {
			t.Helper()
			cmd := p.cmd(args...)
			sh := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs none /proc && exec "$@"`, "sh")
			sh.Args, sh.Env = append(sh.Args, cmd.Args...), []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
			if r := host.TryCommand(sh); r.Code != 0 || strings.Contains(r.Err, "IPv") {
				t.Errorf("%v: %+v", args, r)
			}
		}
		blind("add", "443:8443")
		blind("add", "80:8080")
		blind("diff")
		consistent(t, p)
		if got := ownRules(b.save(host)); !strings.Contains(got, "443:8443/tcp") {
			t.Errorf("in %s are\n%s", b.name, got)
		}
		for _, address := range []string{"192.0.2.1", "[2001:db8::1]"} {
			if answer, err := client.Ask("tcp", "", address+":443"); err != nil || answer.Server.Port() != 8443 {
				t.Errorf("%s: %+v, %v", address, answer, err)
			}
		}
		blind("flush")
	})
}
