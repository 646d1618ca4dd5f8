package ruletext

import (
	"slices"

	"portmap/rules"
)

// Switches returns lines of comment with what text of rules cannot carry: the switches of the kernel that mappings need
// over some families; "" if they need none.
func Switches(mappings []rules.Mapping, families rules.Families) (text string) {
	needs := func(asked func(*rules.Mapping) bool, name string) {
		if slices.ContainsFunc(mappings, func(m rules.Mapping) bool { return asked(&m) }) {
			text += "# It needs, and cannot set: sysctl -w " + name + "=1\n"
		}
	}
	remote := func(f rules.Families) func(*rules.Mapping) bool {
		return func(m *rules.Mapping) bool { return families.Has(f) && m.RemoteFamilies().Has(f) }
	}
	needs(remote(rules.IPv4), "net.ipv4.ip_forward")
	needs(remote(rules.IPv6), "net.ipv6.conf.all.forwarding")
	needs(func(m *rules.Mapping) bool { return families.Has(rules.IPv4) && m.ToLoopback() },
		"net.ipv4.conf.all.route_localnet")
	return text
}
