package ipt

import (
	"fmt"
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"
)

// A server on another host would answer the client by itself, if its way back does not lead through this host, and the
// client would not know the answer. So the connections of these mappings, and no others, leave with an address of this
// host: those whose destination was translated, by the port that the client used and by where they go now. Mappings
// that differ only in their clients share a rule.

const (
	masqueradeTCP = "PORTMAP-MTCP"
	masqueradeUDP = "PORTMAP-MUDP"
)

// masquerading returns the chains of the table nat for connections that leave.
func masquerading(mappings, near []rules.Mapping, family rules.Families) []chain {
	entries := map[dnatEntry]bool{}
	for i := range mappings {
		m := &mappings[i]
		if facts.Plain(m) || !facts.RemoteFamilies(m).Has(family) {
			continue
		}
		for _, t := range facts.TargetsIn(m, family) {
			for _, protocol := range m.Protocols().Each() {
				if t.Remote() {
					entries[masqueradeEntry(t, protocol, m.ListenPorts())] = true
				}
			}
		}
	}
	if len(entries) == 0 {
		return nil
	}
	list := make([]dnatEntry, 0, len(entries))
	for e := range entries {
		list = append(list, e)
	}
	t := &tree{table: nat, near: near, portsOf: remotePorts, kind: masqueradeChain}
	t.grow(masqueradeChain, portRange{rules.TCP | rules.UDP, everyPort}, pointers(list), func(b portRange) string {
		return readableAs(masqueradeTCP, masqueradeUDP, b)
	})
	return t.chains
}

func masqueradeEntry(t rules.Target, protocol rules.Protocols, listen rules.Ports) dnatEntry {
	return dnatEntry{mapping: -1, protocol: protocol, listen: t.Ports, original: listen.First, masquerades: true,
		address: t.Addr, comment: dropComment, text: fmt.Sprint(t.Addr, t.Ports, listen)}
}

// remotePorts returns the ports of servers on other hosts.
func remotePorts(m *rules.Mapping) (ports []rules.Ports) {
	for _, t := range m.Targets() {
		if t.Remote() {
			ports = append(ports, t.Ports)
		}
	}
	return ports
}

var loopbackNetwork = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)

// loopbackOf returns the loopback addresses of a family. Packets to them come from one of them, and so cannot leave for
// another host.
func loopbackOf(family rules.Families) netip.Prefix {
	if family == rules.IPv4 {
		return loopbackNetwork
	}
	return netip.PrefixFrom(netip.IPv6Loopback(), 128)
}

// closingLoopback returns the chain that keeps the other servers on loopback addresses closed for other hosts, where a
// mapping has one opened: for that the kernel takes packets to and from loopback addresses from everywhere
// (Documentation/networking/ip-sysctl.rst, route_localnet). Those of a mapping come to an address that others may use,
// and are translated only after this.
func closingLoopback(mappings []rules.Mapping, family rules.Families) []chain {
	toLoopback := func(m rules.Mapping) bool { return facts.ToLoopback(&m) }
	if family != rules.IPv4 || !slices.ContainsFunc(mappings, toLoopback) {
		return nil
	}
	return []chain{{id: chainID{mangle, loopbackChain},
		rules: []line{{rule: rule{comment: dropComment, verdict: drop}, mapping: -1}}}}
}
