package nft

import (
	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// With --hide, the first packet of a connection of another host to the target port itself is refused. The chain input
// sees it behind NAT: one that came by a mapping, or by a translation of somebody else, says so. Packets of connections
// that are open pay for one comparison, and ICMP errors about them, too.

// hiddenSets are the sets of the target ports that are hidden.
func hiddenSets() []guardSet {
	hidden := func(m *rules.Mapping) bool { return m.Hide() }
	set := func(name string, k key) guardSet { return guardSet{name, k, hidden} }
	return []guardSet{
		set("hidden", key{family: true}),
		set("hidden4", key{address: rules.IPv4}),
		set("hidden6", key{address: rules.IPv6}),
		set("hidden_on", key{iface: true, family: true}),
		set("hidden_on4", key{iface: true, address: rules.IPv4}),
		set("hidden_on6", key{iface: true, address: rules.IPv6}),
	}
}

// hideTargets returns the rules for packets to this host.
func hideTargets() []*rule {
	list := []*rule{
		newRule(chainGuardInput, "all but the first packets pass").unlessNew(),
		newRule(chainGuardInput, "connections by mappings pass").translated().pass(),
		newRule(chainGuardInput, "connections of this host pass").byLoopback().pass(),
	}
	for _, s := range hiddenSets() {
		comment := "every address"
		if s.key.address != 0 {
			comment = "one " + s.key.address.String() + " address"
		}
		if s.key.iface {
			comment += ", one interface"
		}
		list = append(list, s.lookup(chainGuardInput, comment).jump(chainRefuse))
	}
	return list
}

// refuseDirect returns the rules that refuse a packet. What is for many hosts is left alone: a client in the same
// network must not learn of it.
func refuseDirect() []*rule {
	return []*rule{
		newRule(chainRefuse, "TCP").protocol(rules.TCP).reject("reject with tcp reset", unix.NFT_REJECT_TCP_RST, 0),
		newRule(chainRefuse, "broadcasts pass").addressType("fib daddr type broadcast", expr.Fib{}, unix.RTN_BROADCAST).
			pass(),
		newRule(chainRefuse, "multicasts pass").addressType("fib daddr type multicast", expr.Fib{}, unix.RTN_MULTICAST).
			pass(),
		newRule(chainRefuse, "UDP").reject("reject with icmpx port-unreachable", unix.NFT_REJECT_ICMPX_UNREACH,
			unix.NFT_REJECT_ICMPX_PORT_UNREACH),
	}
}

func (r *rule) reject(text string, kind uint32, code uint8) *rule {
	return r.add(text, &expr.Reject{Type: kind, Code: code})
}

// unlessNew ends the chain for a packet that is not the first of its connection.
func (r *rule) unlessNew() *rule {
	return r.add("ct state != new return",
		&expr.Ct{Key: expr.CtKeySTATE, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: nativeBytes(expr.CtStateBitNEW)},
		&expr.Verdict{Kind: expr.VerdictReturn})
}

// loopback is the number of the interface lo, which is the first of each network namespace
// (include/net/net_namespace.h, LOOPBACK_IFINDEX).
const loopback = 1

// byLoopback matches packets of this host to itself.
func (r *rule) byLoopback() *rule {
	return r.add(`iif "lo"`, &expr.Meta{Key: expr.MetaKeyIIF, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: nativeBytes(loopback)})
}
