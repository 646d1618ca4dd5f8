package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"portmap/rules"
)

// A name is carried unharmed or refused; no byte of it becomes an argument, a line or a command.
func TestStrangeNames(t *testing.T) {
	names := []string{
		"-j", "--", "-A", "COMMIT", "*nat", ":PORTMAP", "#x", "a#b", "'", "a'b", "$(reboot)", "`x`", ";", "&", "|x",
		"<x", "é-ü", "日本", "\x01",
		"a b", "a\nb", "a\tb", "a\x00b", `a"b`, `a\b`, "a/b", "a:b", "*", "x+", "+x", "!", "!x", "[0:0]", "{x}", "~x",
		"%s", "=", "-i", "1,2", "x\u2028",
		strings.Repeat("n", 15), strings.Repeat("n", 16),
	}
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		var all []rules.Mapping
		for i, name := range names {
			m, err := rules.New(rules.Parts{
				ListenPorts: rules.Ports{First: uint16(1000 + i)}, TargetPorts: rules.Ports{First: uint16(3000 + i)},
				Interface: name, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			})
			if err != nil || name == "!" && b.name != "nft" {
				continue
			}
			all = append(all, m)
		}
		if len(all) < 20 {
			t.Errorf("only %d names were tried", len(all))
		}
		holds := func(want []rules.Mapping) {
			t.Helper()
			live := b.live(t, host)
			set, err := live.Set()
			if missing := rules.Minus(want, set.Mappings()); err != nil || live.Damaged != "" || len(missing) > 0 ||
				set.Len() != len(want) {
				t.Fatalf("%d of %d are live, %s, %v; missing are %v", set.Len(), len(want), live.Damaged, err, missing)
			}
		}
		b.change(t, host, rules.Change{Add: all})
		holds(all)
		half := len(all) / 2
		b.change(t, host, rules.Change{Remove: all[:half]})
		holds(all[half:])
	})
}

// Texts of every length about the longest comment come back whole, one alone and many at once.
func TestLongTexts(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("tcp", "192.0.2.1:8443")
		var lines []string
		for i, length := 0, 120; length < 1100; i++ {
			line := fmt.Sprintf("%d:8443/tcp --source 192.0.2.0/24", 2000+i)
			for k := 0; len(line) < length; k++ {
				line += fmt.Sprintf(",10.%d.0.0/16", k)
			}
			lines = append(lines, line)
			if length++; length > 262 {
				length += 90
			}
		}
		b.add(t, host, lines...)
		live := b.live(t, host)
		if live.Damaged != "" || len(live.Mappings) != len(lines) {
			t.Fatalf("%d of %d live; %s", len(live.Mappings), len(lines), live.Damaged)
		}
		for _, port := range []int{2000, 2000 + len(lines)/2, 2000 + len(lines) - 1} {
			if answer, err := client.Ask("tcp", "", fmt.Sprintf("192.0.2.1:%d", port)); err != nil ||
				answer.Server.Port() != 8443 {
				t.Errorf("port %d: %+v, %v", port, answer, err)
			}
		}
	})
}
