package ipt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"

	"portmap/rules"
	"portmap/rules/facts"
)

// With --hide, the first packet of a connection of another host to the target port itself is refused. The jump in INPUT
// asks for that, behind NAT: a packet that came by a mapping, or by a translation of somebody else, passes. Packets of
// open connections meet one rule. Ports side by side are one rule, whichever mappings they are of, and a tree holds
// what is left.

var refuseID = chainID{filter, refuseChain}

// hidden is what hides a port beside its number. What a mapping asks of the source is no part of it.
type hidden struct {
	protocol rules.Protocols
	condition
}

// hiding returns the chains that refuse direct connections.
func hiding(mappings, near []rules.Mapping, family rules.Families) []chain {
	t := &tree{table: filter, near: near, portsOf: facts.PortsHere}
	ports := map[hidden][]rules.Ports{}
	for i := range mappings {
		m := &mappings[i]
		if !m.Hide() || !m.Families().Has(family) || len(facts.PortsHere(m)) == 0 {
			continue
		}
		for _, protocol := range m.Protocols().Each() {
			h := hidden{protocol, condition{address: m.Listen(), iface: m.Interface()}}
			ports[h] = append(ports[h], facts.PortsHere(m)...)
		}
	}
	if len(ports) == 0 {
		return nil
	}
	var entries []dnatEntry
	keys := slices.Collect(maps.Keys(ports))
	sort.Slice(keys, func(i, k int) bool { return compareHidden(keys[i], keys[k]) < 0 })
	for _, h := range keys {
		e := dnatEntry{mapping: -1, protocol: h.protocol, refuses: true, address: h.address, iface: h.iface,
			text: fmt.Sprint(h), comment: dropComment}
		for _, e.listen = range facts.Join(ports[h]) {
			entries = append(entries, e)
		}
	}
	t.grow(hideChain, portRange{rules.TCP | rules.UDP, everyPort}, pointers(entries), treeOf(hideChain))
	t.refuse(family)
	return t.chains
}

func compareHidden(a, b hidden) int {
	return cmp.Or(cmp.Compare(a.protocol, b.protocol), a.address.Compare(b.address), cmp.Compare(a.iface, b.iface))
}

// refuse makes the chain that refuses. What is for many hosts is left alone.
func (t *tree) refuse(family rules.Families) {
	at := t.open(refuseChain)
	t.add(at, rule{protocol: tcp, verdict: reset}, -1)
	if family == rules.IPv4 {
		t.add(at, rule{when: toOne, verdict: unreachable}, -1)
	} else {
		t.add(at, rule{when: toOne6, verdict: unreachable6}, -1)
	}
}
