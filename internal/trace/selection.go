package trace

import (
	"encoding/binary"
	"net/netip"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Selection picks the packets to follow: the first ones of connections to this host. Zero fields pick all.
type Selection struct {
	Every     bool            // all packets, not only those first ones
	In, Out   string          // the interface, of packets that arrive or of packets of this host; one of them at most
	Protocol  rules.Protocols // tcp, udp, or both
	Ports     rules.Ports     // destination ports
	To        netip.Addr
	Sources   []netip.Prefix
	PerSecond uint64 // how many at most
}

// first is before all other chains, also before the defragmentation at -400 (linux/netfilter_ipv4.h, NF_IP_PRI_FIRST
// and NF_IP_PRI_CONNTRACK_DEFRAG). tracked is right behind connection tracking: only there it is known whether a
// datagram is the first one.
const (
	first   = -500
	tracked = -199
)

func (s Selection) priority() int32 {
	if s.Protocol == rules.UDP && !s.Every {
		return tracked
	}
	return first
}

func (s Selection) hook() uint32 {
	if s.Out != "" {
		return unix.NF_INET_LOCAL_OUT
	}
	return unix.NF_INET_PRE_ROUTING
}

func (s Selection) hookName() string {
	if s.Out != "" {
		return "output"
	}
	return "prerouting"
}

// matches returns what packets must have, in each of which one is enough.
func (s Selection) matches() (all [][]expr.Any) {
	sources := s.Sources
	if len(sources) == 0 {
		sources = []netip.Prefix{{}}
	}
	for _, source := range sources {
		var m []expr.Any
		m = append(m, onInterface(expr.MetaKeyIIFNAME, s.In)...)
		m = append(m, onInterface(expr.MetaKeyOIFNAME, s.Out)...)
		m = append(m, ofProtocol(s.Protocol)...)
		m = append(m, toPorts(s.Ports)...)
		m = append(m, fromNetwork(source)...)
		m = append(m, toAddress(s.To)...)
		if !s.Every {
			m = append(m, s.opening()...)
		}
		if s.PerSecond > 0 {
			m = append(m, &expr.Limit{Type: expr.LimitTypePkts, Rate: s.PerSecond, Unit: expr.LimitTimeSecond,
				Burst: uint32(s.PerSecond)})
		}
		all = append(all, m)
	}
	return all
}

// opening matches the first packet of a connection to this host: a SYN without ACK, or a datagram that is new. Whether
// the address is local is asked last: that takes a look into the routing table.
func (s Selection) opening() []expr.Any {
	local := []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}
	if s.Protocol == rules.UDP {
		const isNew = 1 << 3 // NF_CT_STATE_BIT(IP_CT_NEW), linux/netfilter/nf_conntrack_common.h
		return append([]expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
				Mask: binary.NativeEndian.AppendUint32(nil, isNew)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		}, local...)
	}
	const flagsAt, syn, finSynRstAck = 13, 0x02, 0x17 // RFC 9293, 3.1
	return append([]expr.Any{
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: flagsAt, Len: 1, DestRegister: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{finSynRstAck}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
	}, local...)
}

func onInterface(key expr.MetaKey, name string) []expr.Any {
	if name == "" {
		return nil
	}
	value := make([]byte, unix.IFNAMSIZ)
	copy(value, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func ofProtocol(p rules.Protocols) []expr.Any {
	if p.Number() == 0 {
		return nil
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.Number()}}}
}

func toPorts(p rules.Ports) []expr.Any {
	if p == (rules.Ports{}) {
		return nil
	}
	return []expr.Any{
		&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2, DestRegister: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: binary.BigEndian.AppendUint16(nil, p.First),
			ToData: binary.BigEndian.AppendUint16(nil, p.Last)},
	}
}

func ofFamily(a netip.Addr) []expr.Any {
	number := byte(unix.NFPROTO_IPV6)
	if a.Is4() {
		number = unix.NFPROTO_IPV4
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

// Places of the addresses in the headers of IPv4 and IPv6.
func placeOf(a netip.Addr, source bool) (offset, length uint32) {
	switch {
	case a.Is4() && source:
		return 12, 4
	case a.Is4():
		return 16, 4
	case source:
		return 8, 16
	}
	return 24, 16
}

func fromNetwork(p netip.Prefix) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	offset, length := placeOf(p.Addr(), true)
	mask := make([]byte, length)
	for bit := range p.Bits() {
		mask[bit/8] |= 0x80 >> (bit % 8)
	}
	return append(ofFamily(p.Addr()),
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length, DestRegister: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()})
}

func toAddress(a netip.Addr) []expr.Any {
	if !a.IsValid() {
		return nil
	}
	offset, length := placeOf(a, false)
	return append(ofFamily(a),
		&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length, DestRegister: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
}
