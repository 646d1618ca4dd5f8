package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/rules"
)

// serverAddress tells of a server that listens at some addresses of an interface, and not at others, to which clients
// of the mapping may come, too. What other interfaces have, such as those of containers, is often meant for others.
func serverAddress(m rules.Mapping, found *servers.Found) (advice []finding.Finding) {
	places := found.Places(m)
	for _, family := range m.Families().Each() {
		var with *servers.Place
		var without []netip.Addr
		for i, p := range places {
			switch {
			case rules.FamilyOf(p.Address) != family || p.Address.IsLoopback() || len(p.Remote) > 0:
			case len(p.Servers) == 0:
				without = append(without, p.Address)
			case with == nil:
				with = &places[i]
			}
		}
		if with == nil || len(without) == 0 {
			continue
		}
		link := linkOf(with.Address)
		without = slices.DeleteFunc(without, func(a netip.Addr) bool {
			other := linkOf(a)
			return link == nil || other == nil || other.Index != link.Index
		})
		if len(without) > 0 {
			advice = append(advice, finding.Finding{ID: finding.ServerAddress, Mapping: m,
				Text: fmt.Sprintf("%s listens at %s, and not at %s: clients who come there are refused",
					with.Servers[0].Who(), with.Servers[0].Address, few(without))})
		}
	}
	return advice
}

// few lists some addresses.
func few(addresses []netip.Addr) string {
	const most = 3
	var texts []string
	for _, a := range addresses[:min(most, len(addresses))] {
		texts = append(texts, a.String())
	}
	if more := len(addresses) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}
