package others

import (
	"fmt"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"
)

// Dropped says, once for each firewall, that its policy keeps other hosts from servers of this host, and which rule
// lets in what is mapped and nothing else. A firewall with other means than a policy is not looked at.
func Dropped(found Rules) (advice []finding.Finding) {
	var told []string
	for i := range found.drops {
		d := &found.drops[i]
		if name := d.firewall(); !d.forward && !slices.Contains(told, name) {
			told = append(told, name)
			advice = append(advice, found.dropped(name)...)
		}
	}
	return advice
}

// firewall names whose chain it is. iptables has a chain for each family.
func (d *Drop) firewall() string {
	switch {
	case d.ufw:
		return "ufw"
	case d.System == Tables:
		return fmt.Sprintf("table %s, chain %s,", d.Table, rules.Printable(d.Chain))
	case d.System == Legacy:
		return "chain INPUT of iptables-legacy"
	}
	return "chain INPUT of iptables"
}

func (r *Rules) dropped(firewall string) []finding.Finding {
	var stopped []rules.Mapping
	var drop *Drop
	families := rules.Families(0)
	for _, m := range r.mappings {
		lost := rules.Families(0)
		for i := range r.drops {
			if d := &r.drops[i]; !d.forward && d.firewall() == firewall {
				if f := d.stops(m); f != 0 {
					lost, drop = lost|f, d
				}
			}
		}
		if lost != 0 {
			stopped, families = append(stopped, m), families|lost
		}
	}
	if len(stopped) == 0 {
		return nil
	}
	first := stopped[0]
	whom := first.Spec()
	if families != first.Families() {
		whom += " over " + families.String()
	}
	if more := len(stopped) - 1; more > 0 {
		whom += fmt.Sprintf(" (and %d more)", more)
	}
	return []finding.Finding{{
		ID: finding.FirewallDrops, Mapping: first, Remedy: drop.opening(stopped, families),
		Text: fmt.Sprintf("%s drops what none of its rules accepts, and none accepts port %s: other hosts do not "+
			"reach %s", firewall, portsText(first), whom),
	}}
}

// opening returns the command that lets in translated connections: of one mapping by its port, of several without.
func (d *Drop) opening(stopped []rules.Mapping, families rules.Families) string {
	var commands []string
	if d.System == Tables && !d.ufw {
		place := d.Table + " " + d.Chain
		if strings.Count(place, " ") != 2 || strings.IndexFunc(place, NotInNames) >= 0 {
			return "" // nft would read something else
		}
		words := strings.Fields(place + translatedTo(stopped) + " ct status dnat accept")
		return "sudo nft insert rule " + shell.Join(words...)
	}
	rule := protocolOption(stopped) + " -m conntrack --ctstate DNAT" + onePort(stopped, " --ctorigdstport ", ":") +
		" -j ACCEPT"
	for _, f := range [...]struct {
		family    rules.Families
		chain, in string
	}{
		{rules.IPv4, "ufw-before-input", "/etc/ufw/before.rules"},
		{rules.IPv6, "ufw6-before-input", "/etc/ufw/before6.rules"},
	} {
		switch {
		case !families.Has(f.family):
		case d.ufw:
			line := "/^# End required lines/a -A " + f.chain + rule
			commands = append(commands, "sudo "+shell.Join("sed", "-i", line, f.in))
		default:
			commands = append(commands, "sudo "+d.program(f.family)+" -I INPUT"+rule)
		}
	}
	if d.ufw {
		commands = append(commands, "sudo ufw reload")
	}
	return strings.Join(commands, " && ")
}

// translatedTo writes the match of the target port for nft. It does not ask for the first port of the connection, ct
// original proto-dst: nft 1.0.6 lists that as "[invalid type]" beside more than one port or protocol, and does not load
// what it has listed.
func translatedTo(mappings []rules.Mapping) string {
	first := mappings[0]
	for _, m := range mappings {
		if !slices.Equal(facts.LocalTargets(&m), facts.LocalTargets(&first)) || m.Protocols() != first.Protocols() {
			return ""
		}
	}
	ports := portsText(first)
	if len(facts.LocalTargets(&first)) > 1 {
		ports = "{ " + ports + " }"
	}
	if first.Protocols().Number() == 0 {
		return " meta l4proto { tcp, udp } th dport " + ports
	}
	return " " + first.Protocols().String() + " dport " + ports
}

// portsText lists the target ports of a mapping to this host: "8443, 9443".
func portsText(m rules.Mapping) string {
	var texts []string
	for _, ports := range facts.LocalTargets(&m) {
		texts = append(texts, ports.String())
	}
	return strings.Join(texts, ", ")
}

// NotInNames reports whether a name of nft cannot have a character without quotes. The space is between names.
func NotInNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(" _-", r)
}

// onePort returns words and the listen ports, if there are no others.
func onePort(mappings []rules.Mapping, words, to string) string {
	ports := mappings[0].ListenPorts()
	if slices.ContainsFunc(mappings, func(m rules.Mapping) bool { return m.ListenPorts() != ports }) {
		return ""
	}
	return words + strings.ReplaceAll(ports.String(), "-", to)
}

func protocolOption(mappings []rules.Mapping) string {
	var protocols rules.Protocols
	for _, m := range mappings {
		protocols |= m.Protocols()
	}
	if protocols.Number() == 0 {
		return ""
	}
	return " -p " + protocols.String()
}
