package integration

import (
	"context"
	"errors"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/nft"
	"portmap/rules"
)

// Somebody else has a table of our name. Nothing reads it as ours, and nothing changes it; it is named, with what cures
// it.
func TestForeignTable(t *testing.T) {
	b := backends()[0]
	for name, content := range map[string]string{
		"empty":   "",
		"a chain": "chain mine { tcp dport 443 counter accept; }",
		"a hook":  "chain prerouting { type nat hook prerouting priority dstnat; tcp dport 99 redirect to :98; }",
		"a set":   "set mine { type ipv4_addr; elements = { 192.0.2.9 }; }",
		"like ours": "map ports { type inet_proto . inet_service : inet_service; counter; elements = { tcp . 443 : " +
			"1 }; }; chain texts { continue comment \"80:8080/tcp --temporary\"; }",
		"our comment": "set targets { type inet_proto . inet_service; comment \"made by hand\"; }",
	} {
		t.Run(name, func(t *testing.T) {
			host, _ := b.barePair(t)
			loadText(t, host, "table inet portmap { "+content+"; }")
			p := b.command(t, host)
			before := host.Ruleset()
			for _, args := range [][]string{
				{"add", "443:8443"}, {"add", "80:8080", "--temporary"}, {"list"}, {"diff"}, {"apply"}, {"flush"},
				{"remove", "--all"},
			} {
				code := 1
				if args[0] == "diff" {
					code = 2
				}
				r := p.try(args...)
				if r.Code != code ||
					!strings.Contains(r.Err, "there is a table inet portmap that is not portmap's\n") ||
					!strings.Contains(r.Err, "sudo nft delete table inet portmap\n") {
					t.Errorf("%v: %+v", args, r)
				}
				if after := host.Ruleset(); after != before {
					t.Fatalf("%v changed the table:\n%s", args, lineDiff(before, after))
				}
			}
			b.with(t, host, func(rules.Backend) error {
				k, err := nft.Open()
				if err != nil {
					return err
				}
				defer k.Close()
				_, errs := k.Present()
				for _, err := range []error{
					errs, k.Probe(),
					k.Apply(context.Background(), rules.Change{Reset: true, Add: lab.Mappings(t, "443:8443")}),
				} {
					if !errors.As(err, new(*nft.ForeignError)) {
						t.Errorf("%v; want a ForeignError", err)
					}
				}
				return nil
			})
			if after := host.Ruleset(); after != before {
				t.Fatalf("the table is changed:\n%s", lineDiff(before, after))
			}
			host.Run("nft", "delete", "table", "inet", "portmap")
			p.run("add", "443:8443")
		})
	}
}

// Nobody who uses iptables need care for a table of our name.
func TestForeignTableBesideIptables(t *testing.T) {
	b := backends()[1]
	host, _ := b.barePair(t)
	loadText(t, host, "table inet portmap { chain mine { accept; }; }")
	p := b.command(t, host)
	p.run("add", "443:8443")
	p.run("remove", "443")
}

func loadText(t *testing.T, h *lab.Host, text string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text + "\n")
	if r := h.TryCommand(cmd); r.Code != 0 {
		t.Fatalf("%s: %s", text, r.Err)
	}
}

// Somebody else puts something into our table. It is named, and stays until somebody takes it out: what deletes the
// table, or makes it anew, is refused. What need not touch it goes on.
func TestForeignObjects(t *testing.T) {
	b := backends()[0]
	objects := map[string]string{
		"a rule in chain prerouting": "add rule inet portmap prerouting tcp dport 99 redirect to :98",
		"a rule in chain mapped": "insert rule inet portmap mapped tcp dport 99 accept comment " +
			"\"http://example.org/a:b\"",
		"a rule in chain invalid": "add rule inet portmap invalid counter comment \"~mine\"",
		"a rule in chain texts":   "add rule inet portmap texts continue comment \"443\"",
		"the chain mine":          "add chain inet portmap mine ; add rule inet portmap mine tcp dport { 1, 2 } drop",
		"the set mine":            "add set inet portmap mine { type ipv4_addr ; }",
		"the map mine":            "add map inet portmap mine { type inet_service : inet_service ; }",
		"the counter mine":        "add counter inet portmap mine",
		`a rule in chain output \(handle [0-9]+\), and 3 more`: "add set inet portmap mine { type ipv4_addr ; } ; " +
			"add chain inet portmap mine ; " +
			"add rule inet portmap mine ip saddr @mine drop ; add counter inet portmap hits ; add rule inet portmap " +
			"output counter name hits jump mine",
	}
	whole := func(what string) string { return what }
	each(t, slices.Collect(maps.Keys(objects)), whole, func(t *testing.T, what string) {
		host, client := b.barePair(t)
		host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:8080")
		p := b.command(t, host)
		p.run("add", "443:8443")
		host.Run("nft", objects[what])
		before := host.Ruleset()
		named := regexp.MustCompile("the table inet portmap has something that is not portmap's: " + what)
		if r := p.try("diff"); r.Code != 1 || !named.MatchString(r.Err) {
			t.Errorf("diff: %+v", r)
		}
		for _, args := range [][]string{{"apply"}, {"flush"}, {"remove", "--all"}, {"remove", "443"}} {
			if r := p.try(args...); r.Code != 1 || !named.MatchString(r.Err) {
				t.Errorf("%v: %+v", args, r)
			}
			if after := host.Ruleset(); after != before {
				t.Fatalf("%v changed the rules:\n%s", args, lineDiff(before, after))
			}
		}
		p.run("add", "80:8080")
		for _, port := range []string{"443", "80"} {
			if answer, err := client.Ask("tcp", "", "192.0.2.1:"+port); err != nil || !answer.Server.IsValid() {
				t.Errorf("port %s: %+v, %v", port, answer, err)
			}
		}
		_, remedy, _ := strings.Cut(p.try("flush").Err, "  to take it out: sudo ")
		remedy = strings.TrimSpace(remedy)
		for _, command := range []string{"diff", "list"} { // not apply, which is refused
			if r := p.try(command); !strings.HasSuffix(r.Err, "; to take it out: sudo "+remedy+"\n") {
				t.Errorf("%s: %+v", command, r)
			}
		}
		shell(t, host, remedy)
		if r := p.try("diff"); r.Code != 0 {
			t.Errorf("after %s: %+v", remedy, r)
		}
		p.run("remove", "443", "80")
	})
}

// Somebody else's rule in the chain of one mapping is named, and its chain stays.
func TestForeignRuleInTheChainOfAMapping(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	p.run("add", "443:8443,9443")
	chain := regexp.MustCompile(`chain (spread_\w+)`).FindStringSubmatch(host.Ruleset())[1]
	host.Run("nft", "add rule inet portmap "+chain+" counter")
	before := host.Ruleset()
	for _, args := range [][]string{{"remove", "443"}, {"apply"}, {"flush"}} {
		if r := p.try(args...); r.Code != 1 || !strings.Contains(r.Err, "a rule in chain "+chain) {
			t.Errorf("%v: %+v", args, r)
		}
		if after := host.Ruleset(); after != before {
			t.Fatalf("%v changed the rules:\n%s", args, lineDiff(before, after))
		}
	}
	_, remedy, _ := strings.Cut(p.try("flush").Err, "  to take it out: sudo ")
	shell(t, host, strings.TrimSpace(remedy))
	p.run("add", "443:8443", "--replace")
	if rest := host.Ruleset(); strings.Contains(rest, chain) {
		t.Errorf("the chain is still there:\n%s", rest)
	}
	consistent(t, p)
}

// Rules, chains and maps are changed, with their comments and names intact: it is said, and made anew.
func TestChangedRulesAreDamage(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	mappings := lab.Mappings(t, "443:8443/tcp,udp", "192.0.2.1:81:8081",
		"8000-8010:9000-9010 --source 192.0.2.0/25,10.0.0.0/8,2001:db8::/32", "84:8084 --interface eth0",
		"85:8085 --source 10.0.0.0/9",
		"86:8086 --source 10.1.2.3,10.1.2.4", "99:9099,9199", "90:9090 --temporary --source "+longSources)
	reset := rules.Change{Reset: true, Add: mappings}
	b.change(t, host, reset)
	whole := host.Run("nft", "list", "table", "inet", "portmap")
	reload := func(t *testing.T, text string) {
		t.Helper()
		host.Run("nft", "delete", "table", "inet", "portmap")
		b.load(t, host, []string{text})
	}
	reload(t, whole)
	if live := b.live(t, host); live.Damaged != "" || len(live.Mappings) != len(mappings) {
		t.Fatalf("as it was: %q, %d live", live.Damaged, len(live.Mappings))
	}
	for name, change := range map[string][2]string{
		"a match is gone": {"fib daddr type local jump mapped", "jump mapped"},
		"another VRF": {"fib daddr . iif type local jump mapped",
			"fib saddr . iif type local jump mapped"},
		"a guard's protocols": {"meta l4proto { tcp, udp } fib daddr type",
			"meta l4proto { tcp, sctp } fib daddr type"},
		"a verdict":          {"fib daddr type local jump mapped", "fib daddr type local goto mapped"},
		"a statement more":   {"fib daddr type local jump mapped", "fib daddr type local log jump mapped"},
		"a lookup elsewhere": {"th dport map @ports comment", "th dport map @ports4 comment"},
		"a lookup of the source": {"dnat to :meta l4proto . th dport map @ports comment",
			"dnat to :meta l4proto . th sport map @ports comment"},
		"a translated address":   {"dnat to :9090", "dnat ip to 192.0.2.9:9090"},
		"a random port":          {"dnat to :8084", "dnat to :8084 random"},
		"an interface":           {"iifname \"eth0\"", "iifname \"eth1\""},
		"a port":                 {"tcp dport 85 ", "tcp dport 87 "},
		"a target":               {"dnat to :8085", "dnat to :8087"},
		"a target in a set":      {"8003 : 9003", "8003 : 9004"},
		"a target less in a set": {"8003 : 9003, ", ""},
		"a source":               {"10.0.0.0/9", "10.0.0.0/10"},
		"a source in a set":      {"192.0.2.0/25", "192.0.2.0/26"},
		"a source more in a set": {"192.0.2.0/25", "192.0.2.0/25, 203.0.113.9"},
		"an inverted set":        {"ip saddr { 10.0.0.0/8", "ip saddr != { 10.0.0.0/8"},
		"a range":                {"10.1.2.3-10.1.2.4", "10.1.2.3-10.1.2.5"},
		"no counter":             {" counter packets 0 bytes 0 dnat to :8085", " dnat to :8085"},
		"a guard lets pass":      {"ct state != invalid return", "ct state invalid return"},
		"a guard drops all":      {"ct state != invalid return", "ct state != invalid drop"},
		"a policy": {"type nat hook prerouting priority dstnat - 1; policy accept;",
			"type nat hook prerouting priority dstnat - 1; policy drop;"},
		"a guard's policy": {"type filter hook output priority mangle; policy accept;",
			"type filter hook output priority mangle; policy drop;"},
		"a priority":  {"priority dstnat - 1", "priority dstnat"},
		"a hook":      {"type filter hook output", "type filter hook postrouting"},
		"a type":      {"type filter hook output", "type route hook output"},
		"a hook less": {"type filter hook output priority mangle; policy accept;", ""},
		"a map with a timeout": {"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n",
			"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n\t\tflags timeout\n"},
		"a map with a limit": {"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n",
			"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n\t\tsize 1000\n"},
		"a map without counters": {"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n\t\tcounter\n",
			"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n"},
		"a map without its mark": {
			"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n\t\tcounter\n" +
				"\t\tcomment \"made by portmap\"\n",
			"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n\t\tcounter\n"},
		"another type": {"map ports4 {\n\t\ttype inet_proto . inet_service : inet_service\n",
			"map ports4 {\n\t\ttype inet_proto . inet_service : mark\n"},
		"a lost target port":       {"tcp . 8443", "tcp . 8444"},
		"a port that is no target": {"tcp . 8443", "tcp . 8443, udp . 53"},
		"a guard's lost port":      {"set tcp_ports {", ""},
		"a guard's port too many": {"set tcp_addr6 {\n\t\ttype ipv6_addr . inet_proto . inet_service\n",
			"set tcp_addr6 {\n\t\ttype ipv6_addr . inet_proto . inet_service\n\t\telements = { ::1 . tcp . 1 }\n"},
		"a guard's other set":       {"@tcp_ports drop", "@tcp_ports4 drop"},
		"an element's target":       {"443:8443/tcp,udp\" : 8443", "443:8443/tcp,udp\" : 8444"},
		"one of several targets":    {"dnat to :9099", "dnat to :9098"},
		"another share":             {"numgen inc mod 2 0", "numgen inc mod 2 1"},
		"an element's verdict":      {": goto spread_", ": jump spread_"},
		"an element's chain":        {"", ""},
		"a chain of no mapping":     {"\tchain texts {", "\tchain spread_0123456789abcdef {\n\t}\n\tchain texts {"},
		"a verdict of the source":   {"th dport vmap @spread comment", "th sport vmap @spread comment"},
		"two rules change places":   {"", ""},
		"a rule of the texts":       {"\tchain texts {\n\t\tcontinue", "\tchain texts {\n\t\tdrop"},
		"the texts":                 {"", ""},
		"a restricted guard's port": {"tcp dport 84 drop", "tcp dport 843 drop"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(whole, change[0], change[1], 1)
			switch name {
			case "two rules change places":
				text = regexp.MustCompile(`(\t\tct state != invalid.*\n)(.*\n)`).ReplaceAllString(whole, "$2$1")
			case "the texts":
				text = regexp.MustCompile(`\t\tcontinue.*\n`).ReplaceAllString(whole, "")
			case "a guard's lost port":
				text = regexp.MustCompile(`(set tcp_ports \{\n.*\n.*\n).*elements.*\n`).ReplaceAllString(whole, "$1")
			case "an element's chain":
				text = regexp.MustCompile(`: goto spread_\w+`).ReplaceAllString(whole, ": goto texts")
			case "another type": // nft would refuse to use it
				text = regexp.MustCompile(`.*@ports4.*\n`).ReplaceAllString(text, "")
			}
			if text == whole {
				t.Fatal("nothing was changed")
			}
			reload(t, text)
			if live := b.live(t, host); live.Damaged == "" {
				t.Errorf("nothing is seen")
			} else {
				t.Log(live.Damaged)
			}
			b.change(t, host, reset)
			if live := b.live(t, host); live.Damaged != "" || len(live.Mappings) != len(mappings) {
				t.Errorf("made anew: %q, %d live", live.Damaged, len(live.Mappings))
			}
		})
	}
}

// The kernel lets nobody change a table that another process owns, root neither: that is what is said.
func TestOwnedTable(t *testing.T) {
	b := backends()[0]
	const marked = `set targets { type inet_proto . inet_service; comment "made by portmap"; }`
	for _, content := range []string{"", marked} {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		owner := exec.Command("nft", "-i")
		in, err := owner.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		host.Start(owner)
		if _, err := in.Write([]byte("table inet portmap { flags owner; " + content + "; }\n")); err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(host.Run("nft", "list", "ruleset"), "flags owner") {
			if owner.ProcessState != nil {
				t.Fatal("the owner ended")
			}
		}
		before := host.Ruleset()
		for _, args := range [][]string{{"add", "443:8443"}, {"apply"}, {"flush"}} {
			r := p.try(args...)
			if r.Code != 1 || !strings.Contains(r.Err, "the table inet portmap is owned by another process") {
				t.Errorf("%v: %+v", args, r)
			}
		}
		if after := host.Ruleset(); after != before {
			t.Errorf("the table is changed:\n%s", lineDiff(before, after))
		}
	}
}

// The set of target ports has those of live mappings, also of such as no file knows, and no others.
func TestTargetPorts(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	want := func(after, ports string) {
		t.Helper()
		listing := host.Run("nft", "list", "set", "inet", "portmap", "targets")
		found := regexp.MustCompile(`tcp \. (\d+)`).FindAllStringSubmatch(listing, -1)
		var have []string
		for _, f := range found {
			have = append(have, f[1])
		}
		slices.Sort(have)
		if got := strings.Join(have, " "); got != ports {
			t.Errorf("after %s the set has %q, want %q", after, got, ports)
		}
		if live := b.live(t, host); live.Damaged != "" {
			t.Errorf("after %s: %s", after, live.Damaged)
		}
	}
	p.run("add", "443:8443", "80:8443/tcp,udp", "8000-8001:9000-9001", "53:5353/udp", "99:9999")
	want("add", "8443 9000 9001 9999")
	p.run("remove", "443")
	want("the first of two went", "8443 9000 9001 9999")
	b.add(t, host, "81:8443 --source "+longSources) // in no file
	p.run("remove", "80")
	want("the last one of the file went", "8443 9000 9001 9999")
	p.run("remove", "81")
	want("the last one went", "9000 9001 9999")
	p.run("add", "8000-8001:9000-9001", "82:9001")
	p.run("remove", "8000-8001")
	want("the range went", "9001 9999")
	p.run("add", "82:9002", "--replace")
	want("another target came", "9002 9999")
	p.run("apply")
	want("apply", "9002 9999")
}

// An element for everything that a map does not have is damage. It has no key, and nothing stumbles over that.
func TestElementForAllOthers(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	p.run("add", "443:8443", "80:8080")
	host.Run("nft", "add", "element", "inet", "portmap", "ports", "{ * : 99 }")
	if r := p.try("diff"); r.Code != 1 ||
		!strings.Contains(r.Err, "map ports has an element that no mapping explains") {
		t.Errorf("diff: %+v", r)
	}
	p.run("remove", "443")
	p.run("apply")
	consistent(t, p)
}
