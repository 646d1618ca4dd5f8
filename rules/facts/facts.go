// Package facts derives from a mapping what backends, and the packages that use them, ask about it.
package facts

import (
	"cmp"
	"slices"

	"portmap/rules"
)

// Plain reports whether there is no address and no option but name and family.
func Plain(m *rules.Mapping) bool {
	return !m.Listen().IsValid() && m.Owner() == "" && !Restricted(m) && len(m.Targets()) == 0 &&
		!m.Hide() && !m.Forward() && !m.Sticky() && !m.Temporary()
}

// Restricted reports whether a packet must have a source or an interface.
func Restricted(m *rules.Mapping) bool { return m.Interface() != "" || len(m.Sources()) > 0 }

// servers returns all servers. That of a mapping to one server on this host has no address.
func servers(m *rules.Mapping) []rules.Target {
	if ports, one := m.TargetPorts(); one {
		return []rules.Target{{Ports: ports}}
	}
	return m.Targets()
}

// TargetsIn returns the servers that packets of one family can go to, also where there is but one on this host.
func TargetsIn(m *rules.Mapping, family rules.Families) []rules.Target {
	return slices.DeleteFunc(servers(m), func(t rules.Target) bool {
		return t.Addr.IsValid() && rules.FamilyOf(t.Addr) != family
	})
}

// LocalTargets returns the ports of each server on this host, at the address that the packet came to.
func LocalTargets(m *rules.Mapping) []rules.Ports {
	return portsOf(m, func(t rules.Target) bool { return !t.Addr.IsValid() })
}

// PortsHere returns the ports of each server on this host, also of those at loopback addresses.
func PortsHere(m *rules.Mapping) []rules.Ports {
	return portsOf(m, func(t rules.Target) bool { return !t.Remote() })
}

func portsOf(m *rules.Mapping, wanted func(rules.Target) bool) (list []rules.Ports) {
	for _, t := range servers(m) {
		if wanted(t) {
			list = append(list, t.Ports)
		}
	}
	return list
}

// RemoteFamilies returns the families over which packets go to other hosts.
func RemoteFamilies(m *rules.Mapping) (f rules.Families) {
	for _, t := range m.Targets() {
		if t.Remote() {
			f |= rules.FamilyOf(t.Addr)
		}
	}
	return f
}

// ToLoopback reports whether a target is in 127.0.0.0/8.
func ToLoopback(m *rules.Mapping) bool {
	return slices.ContainsFunc(m.Targets(), func(t rules.Target) bool { return t.Addr.Is4() && t.Addr.IsLoopback() })
}

// Compare orders mappings by their first listen port, then by their text.
func Compare(a, b rules.Mapping) int {
	return cmp.Or(cmp.Compare(a.ListenPorts().First, b.ListenPorts().First), cmp.Compare(a.String(), b.String()))
}
