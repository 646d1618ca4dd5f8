package nft

import (
	"portmap/rules"
	"portmap/rules/facts"

	"github.com/google/nftables/expr"
)

// A segment that connection tracking calls invalid (delayed, beyond the window) belongs to no connection, and
// so nothing translates it (nf_conntrack_proto_tcp.c, nf_conntrack_tcp_packet). A client's segment meets the listen
// port, where nobody listens. A server's leaves with the target port, which the client does not know. The
// answer to both is a reset, and the connection ends. If the segment is dropped, it is sent again, and the connection
// goes on.
//
// A server on another host knows this host as its client, and so its segment comes here, where nobody has its port. The
// answer would be a reset, to the server. It is found by where it comes from.
//
// Both guards ask for the state first, so all other packets pay for one comparison. They look into sets of their
// own: a lookup in a map is counted in its element (nft_lookup.c, nft_lookup_eval), and that counter is for
// connections.

// guardArriving returns the rules that find the invalid segments of other hosts, guardLeaving those for the segments of
// this host.
func guardArriving() []*rule {
	return []*rule{
		newRule(chainGuardPrerouting, "all but invalid segments pass").unlessInvalid(),
		newRule(chainGuardPrerouting, "invalid segments to this host").protocol(rules.TCP).toThisHost().jump(
			chainInvalid),
		newRule(chainGuardPrerouting, "invalid segments to this host, by a VRF").
			protocol(rules.TCP).toIncoming().jump(chainInvalid),
	}
}

func guardLeaving() []*rule {
	return []*rule{
		newRule(chainGuardOutput, "answers on mappings").translated().jump(chainOwner),
		newRule(chainGuardOutput, "all but invalid segments pass").unlessInvalid(),
		newRule(chainGuardOutput, "invalid segments of servers behind mappings").fromTarget().drop(),
	}
}

// dropMapped returns the rules that drop the invalid segments to ports that the maps have, and those of servers on
// other hosts.
func dropMapped() []*rule {
	var list []*rule
	for _, p := range maps() {
		r := newRule(chainInvalid, p.comment).ofFamilies(p.families).protocol(rules.TCP)
		list = append(list, r.inSet(p.key, p.tcpSet()).drop())
	}
	for _, s := range serverSets() {
		r := newRule(chainInvalid, s.comment).family(s.key.address).protocol(rules.TCP)
		list = append(list, r.inSet(s.key, s.name).drop())
	}
	return list
}

// serverSet is a set of TCP servers on other hosts.
type serverSet struct {
	name    string
	comment string // of the rule that looks a segment up
	key     key
}

func serverSets() []serverSet {
	return []serverSet{
		{"servers4", "of servers on other hosts, IPv4", key{address: rules.IPv4, source: true}},
		{"servers6", "of servers on other hosts, IPv6", key{address: rules.IPv6, source: true}},
	}
}

// elements returns the elements of a mapping in the set: one for each target on another host and port.
func (s serverSet) elements(list []keyRange, m *rules.Mapping) []keyRange {
	if facts.Plain(m) || !m.Protocols().Has(rules.TCP) || !facts.RemoteFamilies(m).Has(s.key.address) {
		return list
	}
	for _, t := range facts.TargetsIn(m, s.key.address) {
		if t.Remote() {
			list = append(list, keyRange{address: t.Addr, protocol: rules.TCP, ports: t.Ports})
		}
	}
	return list
}

// dropRestricted returns the rules that drop the invalid segments of a mapping with --source or --interface.
func dropRestricted(m *rules.Mapping) []*rule {
	if !facts.Restricted(m) || !m.Protocols().Has(rules.TCP) {
		return nil
	}
	var list []*rule
	for _, c := range clientsOf(m) {
		r := newRule(chainInvalid, label(m)).restrict(m, c)
		list = append(list, r.protocol(rules.TCP).toPorts(m.ListenPorts()).drop())
	}
	return list
}

// tcpTargets returns the elements of a mapping in the set of target ports.
func tcpTargets(list []keyRange, m *rules.Mapping) []keyRange {
	if !m.Protocols().Has(rules.TCP) {
		return list
	}
	if target, one := m.TargetPorts(); one { // of most mappings, without an allocation
		return append(list, keyRange{protocol: rules.TCP, ports: target})
	}
	for _, target := range facts.LocalTargets(m) {
		list = append(list, keyRange{protocol: rules.TCP, ports: target})
	}
	for _, t := range m.Targets() {
		if t.Addr.IsLoopback() {
			list = append(list, keyRange{protocol: rules.TCP, ports: t.Ports})
		}
	}
	return list
}

// unlessInvalid ends the chain for a packet of any other state.
func (r *rule) unlessInvalid() *rule {
	return r.add("ct state != invalid return",
		&expr.Ct{Key: expr.CtKeySTATE, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: nativeBytes(expr.CtStateBitINVALID)},
		&expr.Verdict{Kind: expr.VerdictReturn})
}

// fromTarget matches packets that leave from a target port.
func (r *rule) fromTarget() *rule {
	return r.add("meta l4proto . th sport @"+setTargets,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regFirst}, sourcePortField(regKey+1),
		&expr.Lookup{SourceRegister: regFirst, SetName: setTargets})
}
