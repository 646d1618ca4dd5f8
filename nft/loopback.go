package nft

import (
	"portmap/rules"
	"portmap/rules/facts"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A mapping to a server on 127.0.0.1 needs the switch route_localnet, with which the kernel takes packets to and from
// loopback addresses from every interface, for every server there (CVE-2020-8558;
// Documentation/networking/ip-sysctl.rst).
// So while there is such a mapping, these packets are dropped where they come from another host. Those of the mapping
// come to another address, and are translated only after this.

// closeLoopback returns the rules that all packets of other hosts meet.
func closeLoopback() []*rule {
	return []*rule{
		newRule(chainGuardLoopback, "packets of other hosts to loopback addresses").
			fromOutside().ofLoopback("daddr", destinationField(rules.IPv4, regFirst)).jump(chainLoopback),
		newRule(chainGuardLoopback, "packets of other hosts from loopback addresses").
			fromOutside().ofLoopback("saddr", sourceField(rules.IPv4, regFirst)).jump(chainLoopback),
	}
}

// dropLoopback returns the rule of a mapping that needs the switch.
func dropLoopback(m *rules.Mapping) []*rule {
	if facts.Plain(m) || !facts.ToLoopback(m) {
		return nil
	}
	return []*rule{newRule(chainLoopback, label(m)).drop()}
}

// fromOutside matches packets that come from another host.
func (r *rule) fromOutside() *rule {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return r.add("iifname != \"lo\"",
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: name})
}

// ofLoopback matches packets of which an address is an IPv4 loopback address.
func (r *rule) ofLoopback(field string, address *expr.Payload) *rule {
	r.exprs = append(r.exprs, isFamily(unix.NFPROTO_IPV4)...)
	address.Len = 1
	return r.add("ip "+field+" 127.0.0.0/8", address,
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: []byte{127}})
}
