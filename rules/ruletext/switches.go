package ruletext

import (
	"portmap/rules"
	"portmap/rules/facts"
)

// Switches returns lines of comment with the switches of the kernel, as sysctl(8) names them, that must be 1 for the
// mappings over some families. The text of rules cannot set them.
func Switches(mappings []rules.Mapping, families rules.Families) (text string) {
	var remote rules.Families
	loopback := false
	for i := range mappings {
		remote |= facts.RemoteFamilies(&mappings[i])
		loopback = loopback || facts.ToLoopback(&mappings[i])
	}
	for _, c := range [...]struct {
		needed bool
		family rules.Families
		name   string
	}{
		{remote.Has(rules.IPv4), rules.IPv4, "net.ipv4.ip_forward"},
		{remote.Has(rules.IPv6), rules.IPv6, "net.ipv6.conf.all.forwarding"},
		{loopback, rules.IPv4, "net.ipv4.conf.all.route_localnet"},
	} {
		if c.needed && families.Has(c.family) {
			text += "# It needs, and cannot set: sysctl -w " + c.name + "=1\n"
		}
	}
	return text
}
