package nft

import (
	"portmap/rules"
	"portmap/rules/facts"

	"github.com/google/nftables/expr"
)

// A server on another host would answer the client by itself, if its way back does not lead through this host, and the
// client would not know the answer. So the connections of these mappings, and no others, leave with an address of this
// host. They are told by what connection tracking knows: their destination was translated, the port that the client
// used, and where they go now. Several mappings can have the same of these: they differ in their clients.

// masqueradeSet is a set of the connections that leave with an address of this host.
type masqueradeSet struct {
	name    string
	comment string // of the rule that looks a packet up
	key     key
}

func masqueradeSets() []masqueradeSet {
	return []masqueradeSet{
		{"masq4", "to another host, IPv4", key{target: rules.IPv4}},
		{"masq6", "to another host, IPv6", key{target: rules.IPv6}},
	}
}

// elements returns the elements of a mapping in the set: one for each protocol, port and target on another host.
func (s masqueradeSet) elements(list []keyRange, m *rules.Mapping) []keyRange {
	if facts.Plain(m) || !facts.RemoteFamilies(m).Has(s.key.target) {
		return list
	}
	for _, t := range facts.TargetsIn(m, s.key.target) {
		for _, protocol := range m.Protocols().Each() {
			if t.Remote() {
				list = append(list, keyRange{protocol: protocol, ports: m.ListenPorts(), to: t.Addr,
					target: t.Ports.First})
			}
		}
	}
	return list
}

// toRemote returns the rule that the first packet of each connection meets before it leaves.
func toRemote() []*rule {
	return []*rule{newRule(chainPostrouting, "connections that were sent on").translated().jump(chainRemote)}
}

func masqueradeLookups() []*rule {
	var list []*rule
	for _, s := range masqueradeSets() {
		r := newRule(chainRemote, s.comment).family(s.key.target).anyPort()
		list = append(list, r.inSet(s.key, s.name).masquerade())
	}
	return list
}

// ctStatusDNAT is the bit of a connection whose destination was translated (IPS_DST_NAT,
// linux/netfilter/nf_conntrack_common.h).
const ctStatusDNAT = 1 << 5

// translated matches connections whose destination was translated.
func (r *rule) translated() *rule {
	return r.add("ct status dnat",
		&expr.Ct{Key: expr.CtKeySTATUS, Register: regFirst},
		&expr.Bitwise{SourceRegister: regFirst, DestRegister: regFirst, Len: 4, Mask: nativeBytes(ctStatusDNAT),
			Xor: nativeBytes(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: nativeBytes(0)})
}

// masquerade gives the connection an address of the interface by which it leaves.
func (r *rule) masquerade() *rule { return r.add("masquerade", &expr.Masq{}) }

const directionOriginal = 0 // IP_CT_DIR_ORIGINAL

// originalPort is the port that the client used.
func originalPort(register uint32) expr.Any {
	return &expr.Ct{Key: expr.CtKeyPROTODST, Register: register, Direction: directionOriginal}
}
