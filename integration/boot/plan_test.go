//go:build boot

package boot

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A plan is what a guest goes through: the steps of guest/steps.sh, and reboots.
type plan []string

func (p plan) boots() int {
	boots := 1
	for _, step := range p {
		if step == "reboot" {
			boots++
		}
	}
	return boots
}

// judge is what every change has to pass. nftables comes first, as on a host that has a firewall: its file begins with
// flush ruleset, so at boot too the mappings must come after it.
func judge() plan {
	return plan{
		"serve", "firewall nftables", "provision install",
		"reboot",
		"restored", "provision check", "again nftables restart", "upgrade", "remove", "purge",
	}
}

// onItsOwn is what depends on the kernel, on a machine with Debian's: modules that are loaded in the unit's sandbox, a
// true reboot, the limit of connection tracking, and a network card in a VRF, which the kernel of a machine on which
// tests run need not have. What the package does is the same in a container, where it takes a tenth of the time.
func onItsOwn() plan {
	return plan{"serve", "firewall nftables", "install", "add", "reboot", "restored", "again nftables restart",
		"clean", "traced", "capable", "finds capability-left", "cured", "crowded 20", "finds conntrack-full", "fixed",
		"crowded -5", "finds conntrack-drops", "fixed", "deserted", "vrf", "reach_vrf", "remove"}
}

// firewalls is, for each firewall that a Debian or a Red Hat has, all that its user does to it. ufw's unit knows no
// reload.
func firewalls() map[string]plan {
	return map[string]plan{
		"nftables": beside("nftables", "again nftables reload"),
		"firewalld": beside("firewalld", "clean", "again firewalld reload", "survives firewall-cmd --reload",
			"survives firewall-cmd --complete-reload"),
		"ufw": slices.Insert(beside("ufw", "survives ufw reload", "survives ufw allow 22/tcp"), 3,
			"ufw --force enable", "unanswered", "finds firewall-drops", "fixed", "unanswered",
			"paste coming-from ufw", "clean"),
		"netfilter-persistent": beside("netfilter-persistent", "survives netfilter-persistent start",
			"survives netfilter-persistent reload"),
		"iptables": beside("iptables", "server_on 127.0.0.1", "finds loopback-only", "server_on ::", "reach 10",
			"clean"),
		"ip6tables": beside("ip6tables"),
		"firewalld flushing iptables": { // which it flushes some time after it was started
			"serve", "install", "add_through iptables", "firewall firewalld",
			"keeps systemctl restart firewalld", "keeps systemctl reload firewalld",
			"keeps systemctl restart firewalld", "reboot",
			"restored", "keeps systemctl reload firewalld",
		},
		"firewalld through iptables": slices.Concat(
			plan{"serve", "install", "firewalld_with FirewallBackend=iptables", "add", "firewall firewalld", "clean"},
			ruledOut(),
			plan{"portmap apply --backend iptables", "reach 10", "finds firewalld-reload",
				"systemctl enable --now portmap-watch", "clean", "survives firewall-cmd --reload"},
			ruledOut(),
			plan{"firewall-cmd --zone=block --add-source=192.0.2.66", "finds bans-bypassed", "whose firewalld",
				"fixed"},
		),
		"iptables reloading slowly": {
			"serve", "install", "add_through iptables", "firewall iptables", "keeps systemctl restart iptables",
			"keeps systemctl reload iptables",
		},
	}
}

// beside is a host with mappings where a firewall is switched on, goes through these steps, and is there after a reboot
// too.
func beside(firewall string, steps ...string) plan {
	p := plan{"serve", "install", "add", "firewall " + firewall, "again " + firewall + " restart",
		"again " + firewall + " stop start"}
	p = append(p, steps...)
	return append(p, "reboot", "restored", "again "+firewall+" restart")
}

// ruledOut is a host on which firewalld is told to drop the clients of a mapping before NAT. What was translated it
// lets in, whatever its zones say.
func ruledOut() plan {
	const rule = "-rule ipv4 raw PREROUTING 0 -p tcp --dport 443 -j DROP"
	return plan{"firewall-cmd --direct --add" + rule, "finds rule-drops", "whose firewalld",
		"firewall-cmd --direct --remove" + rule, "reach 10"}
}

// strict is a host on which firewalld, of Debian trixie, lets in only what it forwards itself. The host's own clients
// are kept out, too, and stay so.
func strict() plan {
	return plan{
		"serve", "install", "firewalld_with StrictForwardPorts=yes", "firewall firewalld", "portmap add 443:8443",
		"unanswered", "finds rule-drops", "whose firewalld", "cured others_reach", "shut",
		"firewall-cmd --reload", "within 10 others_reach", "undone", "unanswered",
		"firewalld_with FirewallBackend=iptables", "finds rule-drops", "whose firewalld", "fixed others_reach",
		"unanswered",
	}
}

// throughLoopback is a host whose server listens on a loopback address only, which takes a switch of the kernel.
func throughLoopback() plan {
	return plan{
		"serve", "install", "server_on 127.0.0.1", "loopback", "reboot",
		"unswitched", "loopback", "portmap enable", "reboot",
		"restored others_reach4", "clean", "switched_off", "purge",
	}
}

// throughIptables is a host whose mappings are in iptables: of the variant, with what its unit needs.
func throughIptables() map[string]plan {
	return map[string]plan{
		"iptables-nft": {"serve", "install", "add_through iptables", "reboot", "restored", "lost iptables-nft",
			"remove", "purge"},
		"iptables-legacy": {"serve", "install", "legacy", "add_through iptables", "reboot", "restored",
			"lost iptables-legacy", "remove", "purge"},
	}
}

// withoutNfTables is a host whose kernel has none, and whose iptables is iptables-nft unless one asks for the other. It
// has a network card in a VRF, too.
func withoutNfTables() plan {
	return plan{
		"serve", "without nf_tables", "install", "fallback",
		"reboot",
		"restored", "clean", "untraced", "iptables-legacy -A INPUT -p tcp --dport 8443 -j DROP", "finds rule-drops",
		"fixed", "iptables-legacy -F INPUT", "vrf", "reach_vrf", "lost iptables-legacy", "remove",
	}
}

// site is the README's own section on a site with a certificate.
const site = "paste readme from-a-fresh-machine-to-a-site-with-a-certificate"

// pasted is what the pages in docs/ have a user paste.
func pasted() map[string]plan {
	return map[string]plan{
		"Let's Encrypt": {
			"letsencrypt", "dpkg -i dist/old.deb", site, "site",
			"renews_alive paste lets-encrypt renewal-with-lego",
			"renews paste lets-encrypt lego-through-port-443-alone",
			"paste lets-encrypt a-folder-that-the-server-shows",
			"renews_alive paste lets-encrypt the-folder-with-lego", "systemctl stop rwserve-plain",
			"renews paste lets-encrypt certbot",
			"renews_alive certbot renew --force-renewal --no-random-sleep-on-renew", "systemctl start rwserve-plain",
			"renews_alive paste lets-encrypt the-folder-with-certbot",
		},
		"terminal and PM2": {
			"letsencrypt", "dpkg -i dist/old.deb", site, "site", "paste coming-from who-listens", "terminal",
			"paste coming-from fork-mode", "site", "reboot", "site",
			"paste coming-from cluster-mode", "site", "reboot", "site",
		},
		"setcap rinetd firewalld": {
			"had setcap", "install", "under_load paste coming-from from-setcap", "reach 10", "incapable",
			"reboot", "restored",
			"portmap remove 443", "had rinetd", "under_load paste coming-from from-rinetd", "reach 10",
			"portmap remove 443", "had forward-port", "under_load paste coming-from from-firewalld", "reach 10",
			"banned",
			"paste coming-from what-firewalld-bans", "unanswered",
		},
		"iptables": {
			"serve", "install", "firewall netfilter-persistent", "had redirect",
			"under_load paste coming-from from-an-iptables-tutorial", "reach 10", "reboot", "restored",
		},
	}
}

// A control is a plan that must fail at its last step, and with these words: else the tests would not see what they are
// for.
type control struct {
	plan plan
	why  string
}

func controls() map[string]control {
	return map[string]control{
		"a unit that is not enabled": {
			plan{"serve", "install", "add", "misconfigure disabled", "reboot", "restored"},
			`portmap-restore did not start at boot`},
		"a unit that is ordered too late": {
			plan{"serve", "install", "add", "misconfigure late", "reboot", "restored"},
			`after network-pre.target: portmap-restore is ordered too late`},
		"a gap under load": {
			plan{"serve", "install", "add", "gap"},
			`clients were refused: refused=`},
		"a file that is left": {
			plan{"serve", "install", "litter", "purge"},
			`files are left: /usr/lib/systemd/system/portmap-litter.service`},
	}
}

// A verdict is what a guest said of one step.
type verdict struct {
	passed    bool
	step, why string
}

// report is all that a guest said.
type report struct {
	verdicts []verdict
	notes    []string
	ended    bool
}

// spoken is a line of guest/driver.sh, among those of the kernel and of systemd.
var spoken = regexp.MustCompile(`(?m)^boot-test: ([A-Z]+) ?([^\r\n]*)\r*$`)

func read(console string) report {
	var r report
	for _, line := range spoken.FindAllStringSubmatch(console, -1) {
		switch rest := line[2]; line[1] {
		case "PASS":
			r.verdicts = append(r.verdicts, verdict{passed: true, step: rest})
		case "FAIL":
			step, why, _ := strings.Cut(rest, ": ")
			r.verdicts = append(r.verdicts, verdict{step: step, why: why})
		case "NOTE":
			r.notes = append(r.notes, strings.TrimPrefix(rest, "NOTE "))
		case "END":
			r.ended = true
		}
	}
	return r
}

// check holds what the guest said to the plan: each step passed, in this order, and none is missing.
func (r report) check(t *testing.T, p plan) {
	t.Helper()
	for _, note := range r.notes {
		t.Log(note)
	}
	verdicts := r.verdicts
	for _, step := range p {
		if step == "reboot" {
			continue
		}
		if len(verdicts) == 0 {
			t.Fatalf("the guest said nothing of %q", step)
		}
		if v := verdicts[0]; !v.passed || v.step != step {
			t.Fatalf("at %q the guest said: passed=%v %q %s", step, v.passed, v.step, v.why)
		}
		verdicts = verdicts[1:]
	}
	if !r.ended || len(verdicts) > 0 {
		t.Fatalf("ended=%v, said too much: %v", r.ended, verdicts)
	}
}

// checkControl sees that the last step failed, for the reason that it was made to fail for, and no other.
func (r report) checkControl(t *testing.T, c control) {
	t.Helper()
	last := len(r.verdicts) - 1
	if last < 0 {
		t.Fatal("the guest said nothing")
	}
	v := r.verdicts[last]
	if v.passed || v.step != c.plan[len(c.plan)-1] || !strings.Contains(v.why, c.why) {
		t.Fatalf("not seen: passed=%v %q %s", v.passed, v.step, v.why)
	}
	t.Logf("seen: %s", v.why)
}
