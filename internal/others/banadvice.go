package others

import (
	"fmt"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/shell"
	"portmap/ipt"
	"portmap/rules"
	"portmap/rules/facts"
)

// Bans tells, in one finding, of sources that a firewall bans and that reach mappings all the same: the firewall sees
// their packets with the target port, or accepts all that was translated.
func (f *Filters) Bans(mappings []rules.Mapping) []finding.Finding {
	var bans []ban
	looks := 0
	for i := range mappings {
		if bans = append(bans, f.bypassed(&mappings[i], &looks)...); len(bans) >= maxBans {
			bans = bans[:maxBans]
			break
		}
	}
	if len(bans) == 0 {
		return nil
	}
	first := bans[0]
	told := finding.Finding{
		ID: finding.BansBypassed, Mapping: *first.mapping,
		Text: fmt.Sprintf("%s bans %s, which reaches %s all the same: what the mapping translates passes it by",
			first.where(), sourcesText(bans), first.mapping.Spec()),
		Seen: fmt.Sprintf("%s: %s", first.where(), first.rule.Text()),
	}
	if first.rule.Tool == "fail2ban" {
		told.Text += fmt.Sprintf("; for later bans, add port %d to `port` of the jail", portBehind(first))
	}
	told.Remedy, told.Undo = banCommands(bans)
	return []finding.Finding{told}
}

// sourceText writes the network of a ban, and one host as an address.
func sourceText(b ban) string {
	if b.packet.from.IsSingleIP() {
		return b.packet.from.Addr().String()
	}
	return b.packet.from.String()
}

// sourcesText writes the first source, and how many more there are.
func sourcesText(bans []ban) string {
	var sources []string
	for _, b := range bans {
		if s := sourceText(b); !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	if more := len(sources) - 1; more > 0 {
		return fmt.Sprintf("%s (and %d more)", sources[0], more)
	}
	return sources[0]
}

func portBehind(b ban) uint16 {
	target := b.packet.listen
	if list := facts.TargetsIn(b.mapping, b.packet.family); len(list) > 0 {
		target += list[0].Ports.First - b.mapping.ListenPorts().First
	}
	return target
}

// banTable is the table that the remedy makes. Its chain comes before NAT, where clients have the port that they used.
const banTable = "table inet bans"

// banCommands returns the commands that ban the sources before NAT, and those that take that back.
func banCommands(bans []ban) (remedy, undo string) {
	var lines, add, remove []string
	for _, b := range bans {
		ports := b.mapping.ListenPorts().String()
		ip := map[rules.Families]string{rules.IPv4: "ip", rules.IPv6: "ip6"}[b.packet.family]
		line := fmt.Sprintf("%s saddr %s %s dport %s fib daddr type local drop; ", ip, sourceText(b), b.packet.protocol,
			ports)
		program := b.rule.System.program(b.packet.family)
		rule := fmt.Sprintf(" PREROUTING -s %s -p %s --dport %s -m addrtype --dst-type LOCAL -j DROP", sourceText(b),
			b.packet.protocol, strings.Replace(ports, "-", ":", 1))
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
			add = append(add, "sudo "+program+" -t raw -I"+rule)
			remove = append(remove, "sudo "+program+" -t raw -D"+rule)
		}
	}
	if slices.ContainsFunc(bans, func(b ban) bool { return b.rule.System == Legacy }) || ipt.Program("nft") == "" {
		return strings.Join(add, " && "), strings.Join(remove, " && ")
	}
	table := banTable + " { chain prerouting { type filter hook prerouting priority raw; " +
		strings.Join(lines, "") + "}; }"
	return "sudo nft " + shell.Quote(table), "sudo nft delete " + banTable
}
