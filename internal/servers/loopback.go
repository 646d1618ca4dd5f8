package servers

import (
	"net/netip"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"
)

// localOnly says why other hosts do not reach the servers behind a mapping, which are at loopback addresses.
func localOnly(m rules.Mapping, why string, behind []Server, typed func(...string) string) finding.Finding {
	f := finding.Finding{ID: finding.LoopbackOnly, Mapping: m, Text: why + "; make it listen on every address"}
	if to, ok := toLoopback(m, behind); ok && typed != nil {
		f.Remedy = typed(slices.Concat([]string{"add", "--replace"}, strings.Fields(to.String()))...)
		f.Undo = typed(slices.Concat([]string{"add", "--replace"}, strings.Fields(m.String()))...)
	}
	return f
}

// anywhere returns the servers on the target ports of a mapping, at whatever address of this host.
func (f Found) anywhere(m rules.Mapping) []Server {
	return f.list(func(visit func(socket)) {
		for _, ports := range facts.LocalTargets(&m) {
			f.eachAt(&m, netip.Addr{}, ports, visit)
		}
	})
}

// toLoopback returns the mapping that leads to the one IPv4 loopback address at which all servers are. There is none
// that leads clients to ::1.
func toLoopback(m rules.Mapping, behind []Server) (to rules.Mapping, ok bool) {
	target, here := m.TargetPorts()
	if !here || !m.Families().Has(rules.IPv4) || len(behind) == 0 {
		return to, false
	}
	var address netip.Addr
	for _, s := range behind {
		at, err := netip.ParseAddrPort(s.Address)
		switch {
		case err != nil || !at.Addr().Is4():
			continue
		case address.IsValid() && at.Addr() != address:
			return to, false
		}
		address = at.Addr()
	}
	parts := m.Parts()
	parts.TargetPorts, parts.Targets = rules.Ports{}, []rules.Target{{Addr: address, Ports: target}}
	to, err := rules.New(parts)
	return to, err == nil && address.IsValid()
}
