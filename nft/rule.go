package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is one rule: the line that nft takes and the expressions that the kernel takes. Each method adds one statement
// to both.
type rule struct {
	chain   string
	jumpsTo string // a chain; empty if it does not
	words   []string
	exprs   []expr.Any
	sets    []anonymous // which must exist before the rule does
	comment string
}

// anonymous is a set or map that belongs to one rule. Its lookup learns the set's number when the set is sent.
type anonymous struct {
	set      *nftables.Set
	elements []nftables.SetElement
	lookup   *expr.Lookup
}

// Registers hold 4 bytes each from regKey on (NFT_REG32_00, linux/netfilter/nf_tables.h); 1 is the old name of
// the first, which nft uses and lists.
const (
	regFirst = 1
	regKey   = 8
)

func newRule(chain, comment string) *rule { return &rule{chain: chain, comment: comment} }

func (r *rule) add(text string, exprs ...expr.Any) *rule {
	r.words = append(r.words, text)
	r.exprs = append(r.exprs, exprs...)
	return r
}

// line returns the rule as nft writes it.
func (r *rule) line() string {
	text := strings.Join(r.words, " ")
	if r.comment != "" {
		text += fmt.Sprintf(" comment \"%s\"", r.comment)
	}
	return text
}

// family matches packets of one address family.
func (r *rule) family(f rules.Families) *rule {
	text := "ipv4"
	if f == rules.IPv6 {
		text = "ipv6"
	}
	return r.add("meta nfproto "+text, isFamily(familyNumber(f))...)
}

// ofFamilies matches packets of the families: of both, every one.
func (r *rule) ofFamilies(f rules.Families) *rule {
	if f == rules.BothFamilies {
		return r
	}
	return r.family(f)
}

func familyNumber(f rules.Families) byte {
	if f == rules.IPv4 {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

func isFamily(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: []byte{number}},
	}
}

// anyPort matches TCP and UDP. It stands before each lookup by port, as an anonymous set. Without it nft does
// not load what it lists ("transport protocol mapping is only valid after transport protocol match").
func (r *rule) anyPort() *rule {
	guard := anonymous{
		set:      &nftables.Set{Table: table(), Anonymous: true, Constant: true, KeyType: nftables.TypeInetProto},
		elements: []nftables.SetElement{{Key: []byte{unix.IPPROTO_TCP}}, {Key: []byte{unix.IPPROTO_UDP}}},
		lookup:   &expr.Lookup{SourceRegister: regFirst},
	}
	r.sets = append(r.sets, guard)
	return r.add("meta l4proto { tcp, udp }", &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regFirst}, guard.lookup)
}

// protocol matches one or both transport protocols.
func (r *rule) protocol(p rules.Protocols) *rule {
	if p.Number() == 0 {
		return r.anyPort()
	}
	return r.add("meta l4proto "+p.String(),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: []byte{p.Number()}})
}

// toThisHost matches packets to any address of this host. A router's connections, and the host's own to others, pass on
// untouched.
func (r *rule) toThisHost() *rule {
	return r.addressType("fib daddr type local", expr.Fib{}, unix.RTN_LOCAL)
}

// toIncoming matches packets to an address of the interface by which they came. With an interface in the
// question the kernel asks the routing table of its VRF, without one the main tables only
// (net/ipv4/fib_frontend.c, inet_dev_addr_type). On the way out the same question, `fib daddr . oif`, has no
// use: the interface of a packet to an address in a VRF is the VRF itself.
func (r *rule) toIncoming() *rule {
	return r.addressType("fib daddr . iif type local", expr.Fib{FlagIIF: true}, unix.RTN_LOCAL)
}

func (r *rule) addressType(text string, question expr.Fib, kind uint32) *rule {
	question.Register, question.FlagDADDR, question.ResultADDRTYPE = regFirst, true, true
	return r.add(text, &question, &expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: nativeBytes(kind)})
}

func (r *rule) arrivedOn(iface string) *rule {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, iface)
	return r.add(fmt.Sprintf("iifname \"%s\"", iface),
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: name})
}

// Offsets of the addresses in the IPv4 (RFC 791, 3.1) and IPv6 (RFC 8200, 3) headers.
func sourceField(f rules.Families, register uint32) *expr.Payload {
	if f == rules.IPv4 {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	}
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
}

func destinationField(f rules.Families, register uint32) *expr.Payload {
	p := sourceField(f, register)
	p.Offset += p.Len
	return p
}

// portField is the destination port, at the same place in the TCP (RFC 9293) and UDP (RFC 768) headers.
func portField(register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

// sourcePortField is the source port, in front of the destination port.
func sourcePortField(register uint32) *expr.Payload {
	p := portField(register)
	p.Offset = 0
	return p
}

func addrWord(f rules.Families) string {
	if f == rules.IPv4 {
		return "ip"
	}
	return "ip6"
}

func (r *rule) toAddress(a netip.Addr) *rule {
	f := rules.FamilyOf(a)
	return r.add(fmt.Sprintf("%s daddr %s", addrWord(f), a),
		destinationField(f, regFirst), &expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: a.AsSlice()})
}

// fromNetworks matches packets whose source is in one of the networks. These are sorted and do not overlap.
func (r *rule) fromNetworks(f rules.Families, networks []netip.Prefix) *rule {
	spans := spansOf(networks)
	if len(spans) == 1 {
		if network, ok := spans[0].prefix(); ok {
			return r.fromNetwork(f, network)
		}
	}
	keyType := nftables.TypeIPAddr
	if f == rules.IPv6 {
		keyType = nftables.TypeIP6Addr
	}
	within := anonymous{
		set:    &nftables.Set{Table: table(), Anonymous: true, Constant: true, Interval: true, KeyType: keyType},
		lookup: &expr.Lookup{SourceRegister: regFirst},
	}
	texts := make([]string, 0, len(spans))
	for _, s := range spans {
		within.elements = append(within.elements, nftables.SetElement{Key: s.first.AsSlice()})
		if end := s.last.Next(); end.IsValid() { // the last address of all has no end
			within.elements = append(within.elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
		texts = append(texts, s.text())
	}
	r.sets = append(r.sets, within)
	r.exprs = append(r.exprs, isFamily(familyNumber(f))...) // nft adds this by itself where a rule says `ip saddr`
	text := fmt.Sprintf("%s saddr { %s }", addrWord(f), strings.Join(texts, ", "))
	return r.add(text, sourceField(f, regFirst), within.lookup)
}

// fromNetwork matches one network as nft does, without a set. The network of all addresses of a family is that family.
func (r *rule) fromNetwork(f rules.Families, network netip.Prefix) *rule {
	if network.Bits() == 0 {
		return r.family(f)
	}
	r.exprs = append(r.exprs, isFamily(familyNumber(f))...)
	r.exprs = append(r.exprs, sourceField(f, regFirst))
	if !network.IsSingleIP() {
		mask := make([]byte, network.Addr().BitLen()/8)
		for bit := range network.Bits() {
			mask[bit/8] |= 0x80 >> (bit % 8)
		}
		r.exprs = append(r.exprs, &expr.Bitwise{
			SourceRegister: regFirst, DestRegister: regFirst, Len: uint32(len(mask)), Mask: mask,
			Xor: make([]byte, len(mask)),
		})
	}
	return r.add(fmt.Sprintf("%s saddr %s", addrWord(f), span{network.Addr(), lastOf(network)}.text()),
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: network.Addr().AsSlice()})
}

// toPorts matches a range of destination ports.
func (r *rule) toPorts(p rules.Ports) *rule {
	text := "th dport " + p.String()
	if p.Count() == 1 {
		return r.add(text, portField(regFirst),
			&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: portBytes(p.First)})
	}
	return r.add(text, portField(regFirst),
		&expr.Cmp{Op: expr.CmpOpGte, Register: regFirst, Data: portBytes(p.First)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: regFirst, Data: portBytes(p.Last)})
}

func (r *rule) count() *rule { return r.add("counter", &expr.Counter{}) }

func (r *rule) jump(chain string) *rule {
	r.jumpsTo = chain
	return r.add("jump "+chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

func (r *rule) drop() *rule { return r.add("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

// continueVerdict lets the packet go on to the next rule.
func (r *rule) continueVerdict() *rule {
	return r.add("continue", &expr.Verdict{Kind: expr.VerdictContinue})
}

// dnat changes the destination port to the one in the register, and the port alone: `dnat to :PORT` in an inet table.
func dnat(register uint32) *expr.NAT {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_INET, RegProtoMin: register}
}

// inSet matches packets whose key is in a set.
func (r *rule) inSet(k key, set string) *rule {
	text, _ := k.text()
	return r.add(text+" @"+set, append(k.load(), &expr.Lookup{SourceRegister: regFirst, SetName: set})...)
}

func portBytes(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

func nativeBytes(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
