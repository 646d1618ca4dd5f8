package integration

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// eachKernel runs a test on kernels without nf_tables, where iptables-legacy is all there is.
func eachKernel(t *testing.T, test func(*testing.T, lab.Kernel)) {
	for name, kernel := range map[string]lab.Kernel{"no nf_tables": lab.NoTables, "no nfnetlink": lab.NoNfnetlink} {
		t.Run(name, func(t *testing.T) { test(t, kernel) })
	}
}

// on is the same command on another kernel.
func (p portmap) on(k lab.Kernel) portmap {
	p.host = p.host.On(k)
	return p
}

func legacy() backend { return backends()[2] }

const (
	usesLegacy = "portmap: the rules are those of iptables-legacy; this host has iptables-nft, too\n"
	noServer   = "portmap: no server listens on port 8080/tcp yet; connections are refused until one does\n"
	noForget   = "portmap: warning: open connections may go their old way for a while: " +
		"this kernel does not let its connection tracking be changed; to have that: sudo modprobe " +
		"nf_conntrack_netlink\n"
)

// Every command does its work by iptables-legacy, and nobody has to say so.
func TestWithoutNfTables(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel lab.Kernel) {
		host, client := backends()[0].pair(t)
		host.Echo("tcp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		host.Echo("udp", "192.0.2.1:8443", "[2001:db8::1]:8443")
		p := backends()[0].command(t, host).on(kernel)
		mapped := func(want bool, after string) {
			t.Helper()
			for _, network := range []string{"tcp", "udp"} {
				for _, address := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
					answer, err := client.Ask(network, "", address)
					if err != nil || answer.Refused == want || want && answer.Server.Port() != 8443 {
						t.Fatalf("%s: %s %s: %+v, %v", after, network, address, answer, err)
					}
				}
			}
		}
		says := func(code int, out, stderr string, args ...string) {
			t.Helper()
			r := p.try(args...)
			if r.Code != code || r.Out != out || r.Err != stderr {
				t.Fatalf("portmap %s: %+v; want exit %d, %q and %q", strings.Join(args, " "), r, code, out, stderr)
			}
		}
		mapping := "443:8443/tcp,udp"
		mapped(false, "at the start")
		says(0, "", "portmap: "+p.file+" does not exist\n", "diff")
		says(0, "would add "+mapping+"\n", usesLegacy, "add", mapping, "--dry-run")
		mapped(false, "after a dry run")
		says(0, "added "+mapping+"\n", usesLegacy+noForget, "add", mapping)
		mapped(true, "added")
		says(3, mapping+"  not tried\n", "portmap: no packet was sent: this kernel does not report its connections; "+
			"to have that: sudo modprobe nf_conntrack_netlink\n", "check")
		says(0, "added 80:8080/tcp\n", noServer, "add", "80:8080", "--backend", "iptables")
		says(0, "replaced 80:8080/tcp with 80:8443/tcp\n", noForget, "add", "80:8443", "--replace")
		says(0, "removed 80:8443/tcp\n", noForget, "remove", "80")
		says(0, "", "", "diff")
		says(0, "", "portmap: nothing to change, 1 mapping\n", "apply")
		var listing struct {
			Backend  string
			Mappings []struct {
				State       string
				Connections int
			}
		}
		r := p.try("list", "-o", "json")
		if err := json.Unmarshal([]byte(r.Out), &listing); err != nil || r.Code != 0 || listing.Backend != "iptables" ||
			len(listing.Mappings) != 1 || listing.Mappings[0].State != "active" ||
			listing.Mappings[0].Connections != 4 {
			t.Errorf("list: %+v, %v", r, err)
		}
		for _, format := range []string{"nft", "iptables"} {
			if out := p.run("export", "--format", format); !strings.Contains(out, mapping) {
				t.Errorf("export --format %s: %q", format, out)
			}
		}
		says(0, "", "portmap: watching 1 mapping\n", "watch", "--for", "1s")
		mapped(true, "watched")
		says(0, "removed "+mapping+"\n", usesLegacy+noForget, "flush")
		mapped(false, "flushed")
		says(1, "+"+mapping+"\n", "", "diff")
		says(0, "added "+mapping+"\n", usesLegacy+noForget, "apply")
		mapped(true, "applied")
		says(0, "removed "+mapping+"\n", usesLegacy+noForget, "remove", "--all")
		mapped(false, "removed")
		if rest := ownRules(legacy().save(host)); rest != "" {
			t.Errorf("nothing is mapped, and there still is\n%s", rest)
		}
		r = p.host.Try(p.path, "enable")
		if r.Code != 1 || !strings.Contains(r.Err, "neither systemd nor OpenRC runs this host") {
			t.Errorf("enable: %+v", r)
		}
		r = p.host.TryCommand(lab.Unprivileged(exec.Command(p.path, "demo")))
		if r.Code != 0 || !strings.Contains(r.Out, "It works on this machine") {
			t.Errorf("demo: %+v", r)
		}
	})
}

// A host loses nf_tables, by a new kernel or a module that is kept from loading, and its file says nft. One command
// moves it to iptables-legacy; once nf_tables is back, another one moves it back.
func TestNfTablesAreLost(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel lab.Kernel) {
		host, client := backends()[0].pair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		whole := backends()[0].command(t, host)
		whole.run("add", "443:8443", "--backend", "nft")
		host.Run("nft", "delete", "table", "inet", "portmap")
		p := whole.on(kernel)
		const says = "this kernel has no nf_tables\n" +
			"  sudo modprobe nf_tables, or use iptables: sudo portmap apply --backend iptables\n"
		for _, args := range [][]string{
			{"list"}, {"diff"}, {"apply"}, {"add", "80:8080"}, {"remove", "443"}, {"flush"}, {"watch", "--for", "1s"},
			{"apply", "--backend", "nft"},
		} {
			p.refused(host, says, args...)
		}
		if r := p.try("apply", "--backend", "iptables"); r.Code != 0 || r.Out != "added 443:8443/tcp\n" {
			t.Fatalf("apply --backend iptables: %+v", r)
		}
		if content, _ := os.ReadFile(p.file); string(content) != "backend iptables\n443:8443/tcp\n" {
			t.Errorf("the file is %q", content)
		}
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v", answer, err)
		}
		consistent(t, p)
		p.refused(host, says, "apply", "--backend", "nft")
		whole.run("apply", "--backend", "nft")
		if live := texts(backends()[0].live(t, host)); live != "443:8443/tcp" {
			t.Errorf("in nft are %q", live)
		}
		if rest := ownRules(legacy().save(host)); rest != "" {
			t.Errorf("left in iptables-legacy:\n%s", rest)
		}
	})
}

// refused runs the command, which must fail with these words, and change neither the file nor a rule of the host.
func (p portmap) refused(host *lab.Host, says string, args ...string) {
	p.t.Helper()
	file, _ := os.ReadFile(p.file)
	before := host.Ruleset()
	r := p.try(args...)
	failed := r.Code == 1 || args[0] == "diff" && r.Code == 2
	if !failed || r.Out != "" || !strings.HasSuffix(r.Err, ": "+says) || strings.Count(r.Err, "\n") != 2 {
		p.t.Errorf("portmap %s: %+v; want %q", strings.Join(args, " "), r, says)
	}
	if now, _ := os.ReadFile(p.file); string(now) != string(file) {
		p.t.Errorf("portmap %s: the file was %q and is %q", strings.Join(args, " "), file, now)
	}
	if after := host.Ruleset(); after != before {
		p.t.Errorf("portmap %s: the rules are not what they were:\n%s", strings.Join(args, " "),
			lineDiff(before, after))
	}
}

// There is neither nf_tables nor iptables-legacy: whatever was asked for, what is missing is named.
func TestNoPacketFilter(t *testing.T) {
	for hidden, missing := range map[string]string{
		"xtables-legacy-multi":                   "iptables-legacy",
		"xtables-legacy-multi xtables-nft-multi": "iptables",
	} {
		says := "this kernel has no nf_tables, and this host has no " + missing +
			"\n  sudo modprobe nf_tables, or install iptables-legacy\n"
		t.Run("without "+hidden, func(t *testing.T) {
			eachKernel(t, func(t *testing.T, kernel lab.Kernel) {
				host, _ := backends()[0].pair(t)
				p := backends()[0].command(t, host).on(kernel)
				p.without = strings.Fields(hidden)
				for _, args := range [][]string{
					{"add", "443:8443"}, {"list"}, {"watch", "--for", "1s"},
					{"add", "443:8443", "--backend", "nft"}, {"add", "443:8443", "--backend", "iptables"},
					{"apply", "--backend", "iptables"},
				} {
					p.refused(host, says, args...)
				}
			})
		})
	}
}

// Nobody tells of changes: what is flushed is put back all the same, and edits are applied.
func TestWatchWithoutNfTables(t *testing.T) {
	b := legacy()
	eachKernel(t, func(t *testing.T, kernel lab.Kernel) {
		host, client := b.barePair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		p := backends()[0].command(t, host).on(kernel)
		w := p.watch() // of nothing yet
		p.run("add", "443:8443", "8000-8010:9000-9010/tcp,udp")
		want := []string{"443:8443/tcp", "8000-8010:9000-9010/tcp,udp"}
		for range 5 {
			flushAndTime(w, b, b.flusher(), want)
		}
		write(t, p.file, "443:8443\n")
		w.live(b, want[0])
		host.Run("ip6tables-legacy", "-t", "nat", "-F", "PORTMAP")
		w.live(b, want[0])
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
			t.Errorf("%+v, %v", answer, err)
		}
		if code := w.ends(syscall.SIGTERM); code != 0 {
			t.Errorf("exit %d; the log is\n%s", code, w.log)
		}
	})
}

// The library finds out by itself which of two variants the kernel can do.
func TestVariantWithoutNfTables(t *testing.T) {
	eachKernel(t, func(t *testing.T, kernel lab.Kernel) {
		host, _ := legacy().pair(t)
		b := legacy()
		b.open = func() (rules.Backend, error) { return ipt.Open(context.Background(), ipt.Options{}) }
		b.add(t, host.On(kernel), "443:8443")
		if live := legacy().live(t, host); texts(live) != "443:8443/tcp" || live.Damaged != "" {
			t.Errorf("in iptables-legacy are %q; %s", texts(live), live.Damaged)
		}
	})
}
