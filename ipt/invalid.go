package ipt

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"
)

// A segment that connection tracking calls invalid belongs to no connection, so the table nat does not see it and its
// port stays as it is (net/netfilter/nf_nat_core.c, nf_nat_inet_fn). A client's then meets the listen port, where
// nobody listens, and a server's leaves from the target port, where the client knows nobody: either is answered by a
// reset, which ends the connection. It is enough that the segment is older or newer than the window
// (nf_conntrack_proto_tcp.c, tcp_in_window).
//
// So the table mangle drops them, before a packet's way is decided and behind connection tracking: TCP for the listen
// side of a mapping, and TCP from the target ports of one, in either case only where the mapping is for such packets.
// A server on another host knows this host as its client, and so its segment comes here, where nobody has its port. The
// answer would be a reset, to the server. It is dropped by where it comes from.
//
// Other packets meet one rule, and most of the dropped ones few: ports side by side are one rule.

// condition is what a mapping asks of a packet beside its protocol and port.
type condition struct {
	address netip.Addr
	iface   string
	sources string // as text, to be compared
}

// dropping returns the chains of the table mangle.
func dropping(mappings, near []rules.Mapping, family rules.Families) []chain {
	if !slices.ContainsFunc(mappings, func(m rules.Mapping) bool { return drops(&m, family) }) {
		return nil
	}
	arriving := &tree{table: mangle, near: near, portsOf: listenPorts}
	at := arriving.open(invalidChain)
	remote := droppingRemote(mappings, near, family)
	if len(remote) > 0 {
		arriving.add(at, rule{to: here, verdict: jump, chain: serverChain}, -1)
		arriving.add(at, rule{to: hereInVRF, verdict: jump, chain: serverChain}, -1)
	}
	arriving.add(at, rule{to: here, verdict: goTo, chain: listenChain}, -1)
	arriving.add(at, rule{to: hereInVRF, verdict: goTo, chain: listenChain}, -1)
	arriving.drops(listenChain, mappings, family)
	leaving := &tree{table: mangle, answers: true, near: near, portsOf: localPorts}
	leaving.drops(targetChain, mappings, family)
	return slices.Concat(arriving.chains, remote, leaving.chains)
}

// droppingRemote returns the chains that drop what comes from servers on other hosts.
func droppingRemote(mappings, near []rules.Mapping, family rules.Families) []chain {
	ports := map[netip.Addr][]rules.Ports{}
	for i := range mappings {
		m := &mappings[i]
		if facts.Plain(m) || !m.Protocols().Has(rules.TCP) || !facts.RemoteFamilies(m).Has(family) {
			continue
		}
		for _, t := range facts.TargetsIn(m, family) {
			if t.Remote() {
				ports[t.Addr] = append(ports[t.Addr], t.Ports)
			}
		}
	}
	if len(ports) == 0 {
		return nil
	}
	var entries []dnatEntry
	for address, list := range ports {
		it := dnatEntry{mapping: -1, protocol: rules.TCP, drops: true, address: address, text: address.String(),
			comment: dropComment}
		for _, it.listen = range facts.Join(list) {
			entries = append(entries, it)
		}
	}
	t := &tree{table: mangle, answers: true, near: near, portsOf: remotePorts, kind: serverChain}
	t.grow(serverChain, portRange{rules.TCP, everyPort}, pointers(entries), func(b portRange) string {
		return fmt.Sprintf("%s-%d-%d", serverChain, b.ports.First, b.ports.Last)
	})
	return t.chains
}

// drops reports whether there is something to drop for a mapping.
func drops(m *rules.Mapping, family rules.Families) bool {
	return m.Protocols().Has(rules.TCP) && m.Families().Has(family)
}

// drops grows the tree of the chains that drop.
func (t *tree) drops(root string, mappings []rules.Mapping, family rules.Families) {
	ports := map[condition][]rules.Ports{}
	sources := map[string][]netip.Prefix{}
	for i := range mappings {
		m := &mappings[i]
		if !drops(m, family) {
			continue
		}
		c, from := conditionOf(m, family)
		for _, e := range t.endsOf(m, family) {
			sources[c.sources] = from
			c.address = e.address
			ports[c] = append(ports[c], e.ports)
		}
	}
	var entries []dnatEntry
	for c, list := range ports {
		it := dnatEntry{mapping: -1, protocol: rules.TCP, drops: true, address: c.address, iface: c.iface,
			text: fmt.Sprint(c), comment: dropComment}
		switch from := sources[c.sources]; len(from) {
		case 0:
		case 1:
			it.source = from[0]
		default:
			it.sourceChain = t.sourceChainOf(c)
		}
		for _, it.listen = range facts.Join(list) {
			entries = append(entries, it)
		}
	}
	t.grow(root, portRange{rules.TCP, everyPort}, pointers(entries), func(b portRange) string {
		return fmt.Sprintf("%s-%d-%d", root, b.ports.First, b.ports.Last)
	})
	for _, text := range slices.Sorted(maps.Keys(sources)) {
		c := condition{sources: text}
		if from := sources[text]; len(from) > 1 && t.hasNear(c, family) {
			t.sources(t.sourceChainOf(c), from, rule{verdict: drop, comment: dropComment})
		}
	}
}

// localPorts returns the ports of servers on this host.
func localPorts(m *rules.Mapping) []rules.Ports {
	ports := facts.LocalTargets(m)
	for _, t := range m.Targets() {
		if t.Addr.IsLoopback() {
			ports = append(ports, t.Ports)
		}
	}
	return ports
}

// end is an address of this host and ports of it.
type end struct {
	address netip.Addr // not valid for every address
	ports   rules.Ports
}

// endsOf returns to where a mapping's packets are sent, or from where its answers come.
func (t *tree) endsOf(m *rules.Mapping, family rules.Families) (ends []end) {
	if !t.answers {
		return []end{{m.Listen(), m.ListenPorts()}}
	}
	for _, ports := range facts.LocalTargets(m) {
		ends = append(ends, end{m.Listen(), ports})
	}
	for _, target := range m.Targets() {
		if target.Addr.IsLoopback() && rules.FamilyOf(target.Addr) == family {
			ends = append(ends, end{target.Addr, target.Ports})
		}
	}
	return ends
}

// sourceChainOf names the chain that asks for the sources of a condition. All mappings of these sources share it.
func (t *tree) sourceChainOf(c condition) string {
	return hashed(sourcesOf, t.table, t.answers, c.sources)
}

// hasNear reports whether one of the mappings that the tree is asked about has the sources of a condition.
func (t *tree) hasNear(c condition, family rules.Families) bool {
	return t.near == nil || slices.ContainsFunc(t.near, func(m rules.Mapping) bool {
		of, _ := conditionOf(&m, family)
		return of.sources == c.sources
	})
}

// conditionOf returns what a mapping asks, and its sources.
func conditionOf(m *rules.Mapping, family rules.Families) (condition, []netip.Prefix) {
	if facts.Plain(m) {
		return condition{}, nil
	}
	c := condition{address: m.Listen(), iface: m.Interface()}
	sources := sourcesIn(m, family)
	if len(sources) > 0 {
		c.sources = fmt.Sprint(sources)
	}
	return c, sources
}
