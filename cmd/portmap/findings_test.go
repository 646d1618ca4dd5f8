package main

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"testing"

	"portmap/internal/finding"
)

// findings has an example of each. What is printed is a promise to people, the ID and the severity one to scripts.
func findings() []struct {
	id           finding.ID
	severity     finding.Severity
	text, remedy string
	line         string
} {
	const (
		swap = "sudo portmap remove 8443 && sudo portmap add 443:8443/tcp"
		copy = `sudo cp --remove-destination "$(readlink -f /etc/portmap/portmap.conf)" /etc/portmap/portmap.conf`
	)
	return []struct {
		id           finding.ID
		severity     finding.Severity
		text, remedy string
		line         string
	}{
		{"no-server", "broken", "no server listens on port 8443/tcp yet; connections are refused until one does", "",
			"no server listens on port 8443/tcp yet; connections are refused until one does"},
		{"ports-swapped", "broken", "no server listens on port 443/tcp, and one on 8443: the public port comes first",
			swap,
			"no server listens on port 443/tcp, and one on 8443: the public port comes first; to swap them: " + swap},
		{"loopback-only", "broken",
			"a listens at [::1]:8443, where other hosts do not reach it; make it listen on every address",
			"sudo portmap add 1:2",
			"warning: a listens at [::1]:8443, where other hosts do not reach it; make it listen on every address; " +
				"or map to that address: sudo portmap add 1:2"},
		{"server-partly", "broken",
			"no server listens on port 8443/udp; connections there are refused until one does", "",
			"no server listens on port 8443/udp; connections there are refused until one does"},
		{"server-address", "hint", "a listens at 192.0.2.7:8443, and not at 192.0.2.8", "",
			"a listens at 192.0.2.7:8443, and not at 192.0.2.8"},
		{"server-blocked", "broken",
			"nc[99] (user bob) listens on port 8443, and is not www-data: it cannot answer on 443:8443/tcp", "",
			"warning: nc[99] (user bob) listens on port 8443, and is not www-data: it cannot answer on 443:8443/tcp"},
		{"server-shadowed", "risk",
			"a listens on port 443 itself, at [::]:443; new connections go to port 8443 instead", "",
			"warning: a listens on port 443 itself, at [::]:443; new connections go to port 8443 instead"},
		{"address-absent", "broken", "no interface of this host has the address 192.0.2.1 now; `ip address` shows them",
			"",
			"warning: no interface of this host has the address 192.0.2.1 now; `ip address` shows them"},
		{"interface-absent", "broken", "this host has no interface eth9 now; `ip link` shows them", "",
			"warning: this host has no interface eth9 now; `ip link` shows them"},
		{"interface-altname", "broken",
			"enp3s0 is another name of eth0, by which no packet arrives; write --interface eth0", "",
			"warning: enp3s0 is another name of eth0, by which no packet arrives; write --interface eth0"},
		{"shared-target", "risk", "80:8443/tcp and 443:8443/tcp end at one port",
			"sudo sysctl -w net.ipv4.tcp_early_demux=0",
			"warning: 80:8443/tcp and 443:8443/tcp end at one port; to prevent it: sudo sysctl -w " +
				"net.ipv4.tcp_early_demux=0"},

		{"source-hidden", "hint", "the server behind 443:10.0.0.5:8443/tcp sees an address of this host", "",
			"the server behind 443:10.0.0.5:8443/tcp sees an address of this host"},
		{"forwarding-off", "broken", "this host sends nothing on",
			"sudo portmap add --replace --forward 443:10.0.0.5:8443",
			"warning: this host sends nothing on; to switch it on: " +
				"sudo portmap add --replace --forward 443:10.0.0.5:8443"},
		{"forward-dropped", "broken", "table ip filter, chain FORWARD drops", "sudo iptables -I FORWARD -j ACCEPT",
			"warning: table ip filter, chain FORWARD drops; to let only these pass: " +
				"sudo iptables -I FORWARD -j ACCEPT"},
		{"router-ignored", "risk", "eth0 does not listen to routers any more",
			"sudo sysctl -w net/ipv6/conf/eth0/accept_ra=2",
			"warning: eth0 does not listen to routers any more; to have that: " +
				"sudo sysctl -w net/ipv6/conf/eth0/accept_ra=2"},
		{"switch-off", "broken", "set net.ipv4.ip_forward to 1: read-only file system", "",
			"warning: set net.ipv4.ip_forward to 1: read-only file system"},

		{"foreign-rule-first", "broken", "another rule translates port 443 already: x; it comes first", "",
			"warning: another rule translates port 443 already: x; it comes first"},
		{"foreign-rule-tied", "risk", "another rule translates port 443 already: x; whether depends", "",
			"warning: another rule translates port 443 already: x; whether depends"},
		{"foreign-rule-shadowed", "risk",
			"another rule translates port 443 already: x; new connections go to port 8443 instead", "",
			"warning: another rule translates port 443 already: x; new connections go to port 8443 instead"},
		{"firewall-drops", "broken", "ufw drops port 8443", "sudo ufw reload",
			"warning: ufw drops port 8443; to let in what is mapped, and nothing else: sudo ufw reload"},
		{"untracked", "broken", "a rule keeps packets to port 443 out of connection tracking: x", "",
			"warning: a rule keeps packets to port 443 out of connection tracking: x"},

		{"boot-off", "risk", "not restored at boot yet", "sudo portmap enable",
			"not restored at boot yet; to have that: sudo portmap enable"},
		{"boot-masked", "risk", "not restored at boot, since the unit is masked",
			"sudo systemctl unmask portmap-restore.service && sudo portmap enable",
			"not restored at boot, since the unit is masked; to change that: " +
				"sudo systemctl unmask portmap-restore.service && sudo portmap enable"},
		{"boot-other-file", "risk", "/srv/ports is not restored at boot: only " + defaultConfig + " is", "",
			"/srv/ports is not restored at boot: only " + defaultConfig + " is"},
		{"boot-file-hidden", "risk", "at boot " + defaultConfig + " cannot be read, since it leads to /root/x", copy,
			"at boot " + defaultConfig + " cannot be read, since it leads to /root/x; to mend that: " + copy},
		{"boot-file-unreadable", "risk", "at boot " + defaultConfig + " cannot be read, since only another user may",
			"sudo chmod o+r " + defaultConfig,
			"at boot " + defaultConfig + " cannot be read, since only another user may; to mend that: sudo chmod o+r " +
				defaultConfig},
		{"firewalld-reload", "risk", "firewalld takes these rules away when it is reloaded",
			"sudo systemctl enable --now portmap-watch",
			"firewalld takes these rules away when it is reloaded; to have them back each time: sudo systemctl " +
				"enable --now portmap-watch"},
		{"watch-running", "hint", "a watch runs, and puts back what a flush takes away",
			"sudo systemctl stop portmap-watch portmap-reapply",
			"a watch runs, and puts back what a flush takes away; end it first: sudo systemctl stop portmap-watch " +
				"portmap-reapply"},

		{"rules-missing", "broken", "443:8443/tcp: saved, and not in the kernel", "sudo portmap apply",
			"warning: 443:8443/tcp: saved, and not in the kernel; to put it there: sudo portmap apply"},
		{"not-saved", "risk", "443:8443/tcp: live, and in no file", "sudo portmap list -o plain",
			"443:8443/tcp: live, and in no file; to save it: sudo portmap list -o plain"},
		{"rules-damaged", "broken", "the rules in the kernel are damaged (x)", "sudo portmap apply",
			"warning: the rules in the kernel are damaged (x); to make them again: sudo portmap apply"},
		{"rules-foreign", "broken", "the rules in the kernel are damaged (x)",
			"sudo nft delete chain inet portmap x",
			"warning: the rules in the kernel are damaged (x); to take it out: sudo nft delete chain inet portmap x"},
		{"other-backend", "risk", "mappings are live in nft, and belong into iptables", "",
			"mappings are live in nft, and belong into iptables"},
		{"other-variant", "hint", "the rules are those of iptables-nft; this host has iptables-legacy, too", "",
			"the rules are those of iptables-nft; this host has iptables-legacy, too"},
		{"family-missing", "risk", "this host has no ip6tables: mapped for IPv4 only", "",
			"warning: this host has no ip6tables: mapped for IPv4 only"},
		{"conntrack-stale", "risk", "open connections may go their old way for a while: x",
			"sudo modprobe nf_conntrack_netlink",
			"warning: open connections may go their old way for a while: x; to have that: sudo modprobe " +
				"nf_conntrack_netlink"},
		{"temporary-lost", "broken", "temporary mappings are not put back: x", "",
			"warning: temporary mappings are not put back: x"},

		{"no-mappings", "hint", "no mappings", "sudo portmap add 443:8443",
			"no mappings; the first one: sudo portmap add 443:8443"},
		{"file-missing", "hint", "portmap.conf does not exist", "", "portmap.conf does not exist"},
		{"file-invalid", "broken", "portmap.conf: line 2: x", "", "warning: portmap.conf: line 2: x"},
		{"line-left-out", "broken", "portmap.conf: line 2: x; left out", "",
			"warning: portmap.conf: line 2: x; left out"},
		{"change-leftover", "hint", "what a change that was killed left behind stays: x", "",
			"warning: what a change that was killed left behind stays: x"},
		{"other-file", "hint", "443:8443/tcp is of another file, b.conf", "",
			"443:8443/tcp is of another file, b.conf"},
		{"other-file-keeps", "hint", "not removed, since another file holds them, b.conf: 443:8443/tcp", "",
			"not removed, since another file holds them, b.conf: 443:8443/tcp"},
		{"other-file-conflict", "broken", "443:9443/tcp: 443/tcp is already taken by 443:8443/tcp, of b.conf", "",
			"warning: 443:9443/tcp: 443/tcp is already taken by 443:8443/tcp, of b.conf"},
		{"other-file-unreadable", "risk", "b.conf, whose mappings are live, too, cannot be read", "",
			"warning: b.conf, whose mappings are live, too, cannot be read"},

		{"conntrack-full", "risk", "connection tracking has room for 1000 connections, and has 950",
			"sudo sysctl -w net.netfilter.nf_conntrack_max=2000",
			"warning: connection tracking has room for 1000 connections, and has 950; to double it: sudo sysctl -w " +
				"net.netfilter.nf_conntrack_max=2000"},
		{"ephemeral-port", "risk", "an outgoing connection of this host can take port 40000",
			"sudo sysctl -w net.ipv4.ip_local_reserved_ports=40000",
			"an outgoing connection of this host can take port 40000; to reserve it: sudo sysctl -w " +
				"net.ipv4.ip_local_reserved_ports=40000"},
		{"capability-left", "risk", "/usr/bin/node has cap_net_bind_service", "sudo setcap -r /usr/bin/node",
			"/usr/bin/node has cap_net_bind_service; to remove that: sudo setcap -r /usr/bin/node"},
		{"unprivileged-ports", "risk", "every user of this host may listen on port 443",
			"sudo sysctl -w net.ipv4.ip_unprivileged_port_start=1024",
			"every user of this host may listen on port 443; to end that: sudo sysctl -w " +
				"net.ipv4.ip_unprivileged_port_start=1024"},
		{"port-leaked", "risk", "nginx[8] (user a) sends clients to port 8443", "",
			"warning: nginx[8] (user a) sends clients to port 8443"},
		{"certbot-standalone", "risk", "certbot cannot renew a: it listens on port 80 by itself",
			"sudo sed -i '/^authenticator *=/a http01_port = 8080' /etc/letsencrypt/renewal/a.conf",
			"warning: certbot cannot renew a: it listens on port 80 by itself; to have it answer there: sudo sed -i " +
				"'/^authenticator *=/a http01_port = 8080' /etc/letsencrypt/renewal/a.conf"},
		{"unit-failed", "risk", "portmap-restore failed: portmap.conf: line 3: x",
			"sudo systemctl start portmap-restore",
			"warning: portmap-restore failed: portmap.conf: line 3: x; when that is mended: sudo systemctl start " +
				"portmap-restore"},
		{"two-files", "hint", "mappings of this host are in a.conf and b.conf", "",
			"mappings of this host are in a.conf and b.conf"},
		{"watch-stopped", "risk", "portmap-watch is enabled and does not run: x",
			"sudo systemctl start portmap-watch",
			"warning: portmap-watch is enabled and does not run: x; to start it: sudo systemctl start portmap-watch"},
		{"ipv6-off", "broken", "IPv6 is off, and 443:8443/tcp is for IPv6 only",
			"sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0",
			"warning: IPv6 is off, and 443:8443/tcp is for IPv6 only; to switch it on: sudo sysctl -w " +
				"net.ipv6.conf.all.disable_ipv6=0"},
		{"interface-down", "broken", "interface eth0 is down", "sudo ip link set eth0 up",
			"warning: interface eth0 is down; to bring it up: sudo ip link set eth0 up"},
		{"rp-filter", "risk", "the kernel drops clients from outside (rp_filter)",
			"sudo sysctl -w net.ipv4.conf.eth1.rp_filter=2",
			"warning: the kernel drops clients from outside (rp_filter); to accept them: sudo sysctl -w " +
				"net.ipv4.conf.eth1.rp_filter=2"},
		{"bans-bypassed", "risk", "f2b-x bans 192.0.2.9, which reaches 443:8443/tcp all the same",
			"sudo nft 'table inet bans { }'",
			"warning: f2b-x bans 192.0.2.9, which reaches 443:8443/tcp all the same; to ban them there, too: sudo " +
				"nft 'table inet bans { }'"},
		{"redirect-back", "risk", "another rule leads port 8443 back to 443", "",
			"another rule leads port 8443 back to 443"},
		{"socket-backlog", "broken", "node[812] does not accept connections: 128 of 128 wait", "",
			"warning: node[812] does not accept connections: 128 of 128 wait"},

		{"rule-drops", "broken", "table inet filter, chain input: tcp dport 8443 drop (by hand) drops clients",
			"sudo nft insert rule inet filter input handle 2 accept",
			"table inet filter, chain input: tcp dport 8443 drop (by hand) drops clients; to let these pass: sudo " +
				"nft insert rule inet filter input handle 2 accept"},
		{"certain-clients", "hint", "a rule lets pass certain clients, and the probe is none of them", "",
			"a rule lets pass certain clients, and the probe is none of them"},
		{"answer-dropped", "broken", "chain OUTPUT: policy drop (by hand) drops the answers of 443:8443/tcp",
			"sudo iptables -A OUTPUT -j ACCEPT",
			"chain OUTPUT: policy drop (by hand) drops the answers of 443:8443/tcp; to let these pass: sudo iptables " +
				"-A OUTPUT -j ACCEPT"},
		{"not-translated", "broken", "443:8443/tcp: somebody answers, and it is not the mapping's server", "",
			"443:8443/tcp: somebody answers, and it is not the mapping's server"},
		{"target-refuses", "broken", "443:10.0.0.5:8443/tcp: 10.0.0.5:8443 refuses the connection", "",
			"443:10.0.0.5:8443/tcp: 10.0.0.5:8443 refuses the connection"},
		{"target-silent", "broken", "443:10.0.0.5:8443/tcp: 10.0.0.5:8443 does not answer", "",
			"443:10.0.0.5:8443/tcp: 10.0.0.5:8443 does not answer"},
		{"conntrack-drops", "broken", "connection tracking has no room", "sudo sysctl -w x=1",
			"connection tracking has no room; to make room: sudo sysctl -w x=1"},
		{"kernel-drops", "broken", "443:8443/tcp: no rule dropped it, and the kernel counts x", "",
			"443:8443/tcp: no rule dropped it, and the kernel counts x"},
		{"probe-unsent", "broken", "443:8443/tcp: the probe could not send: x", "",
			"443:8443/tcp: the probe could not send: x"},
		{"unexplained", "broken", "443:8443/tcp: no server got it, and nothing says why", "",
			"443:8443/tcp: no server got it, and nothing says why"},
	}
}

// Each finding has its severity, is printed in its words, and has a remedy that can be typed.
func TestFindings(t *testing.T) {
	var ids []finding.ID
	for _, want := range findings() {
		ids = append(ids, want.id)
		f := finding.Finding{ID: want.id, Text: want.text, Remedy: want.remedy}
		if f.Severity() != want.severity {
			t.Errorf("%s: severity %q, want %q", f.ID, f.Severity(), want.severity)
		}
		var printed strings.Builder
		a := &app{out: bufio.NewWriter(io.Discard), err: &printed}
		a.notes(f)
		a.warnings(f)
		if line := "portmap: " + want.line + "\n"; printed.String() != line+line {
			t.Errorf("%s: printed is\n%swant twice\n%s", f.ID, &printed, line)
		}
		for _, command := range strings.Split(strings.ReplaceAll(f.Remedy, " | ", " && "), " && ") {
			if f.Remedy != "" {
				checkCommand(t, command)
			}
		}
	}
	if !slices.Equal(ids, finding.IDs()) {
		t.Errorf("the table has\n%q\nthe findings are\n%q", ids, finding.IDs())
	}
}

// With -q only what a change could not do is printed.
func TestFindingsQuietly(t *testing.T) {
	var printed strings.Builder
	a := &app{out: bufio.NewWriter(io.Discard), err: &printed, quiet: true}
	a.notes(finding.Finding{ID: finding.BootOff, Text: "a note"})
	a.warnings(finding.Finding{ID: finding.FamilyMissing, Text: "of a change"})
	if want := "portmap: warning: of a change\n"; printed.String() != want {
		t.Errorf("printed is %q, want %q", printed.String(), want)
	}
}

// checkCommand fails for a line that a shell or portmap would not take. Of others' commands it knows the names: not
// each host that runs the tests has them.
func checkCommand(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if words[0] != "sudo" {
		t.Fatalf("%s: without sudo", line)
	}
	switch words = words[1:]; words[0] {
	case "chmod", "cp", "ip", "ip6tables", "iptables", "modprobe", "nft", "sed", "setcap", "sysctl", "systemctl", "ufw":
		return
	case "portmap":
	default:
		t.Fatalf("%s: no such command", line)
	}
	cmd, args, err := (&app{}).root().Find(words[1:])
	if err == nil {
		err = cmd.ParseFlags(args)
	}
	if err == nil && cmd.Args != nil {
		err = cmd.Args(cmd, cmd.Flags().Args())
	}
	if err != nil || !cmd.HasParent() {
		t.Errorf("%s: not a command of portmap: %v", line, err)
	}
}
