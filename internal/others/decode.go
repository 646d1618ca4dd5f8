package others

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// field is what a register of nf_tables holds.
type field int

const (
	unknown field = iota
	neutral       // to ask for it makes no difference here
	port          // the destination port
	protocol
	family
	source
	destination
	iface
	ctStatus     // the status of the connection
	ctTranslated // of that, whether its destination was translated
	originalPort // the destination port before that
)

// decoder reads one rule, expression by expression: some load a field of the packet into a register, others compare it.
type decoder struct {
	table    table
	rule     rule
	fields   map[uint32]field
	values   map[uint32][]byte // what the rule itself puts into registers
	possible bool
}

func decode(t table, expressions []byte) rule {
	d := decoder{table: t, fields: map[uint32]field{}, values: map[uint32][]byte{}, possible: true}
	d.rule.match = anyPacket()
	attributes(expressions, func(_ uint16, expression []byte) {
		var name string
		var content []byte
		attributes(expression, func(kind uint16, value []byte) {
			switch kind {
			case unix.NFTA_EXPR_NAME:
				name = unix.ByteSliceToString(value)
			case unix.NFTA_EXPR_DATA:
				content = value
			}
		})
		d.expression(name, content)
	})
	if !d.possible {
		d.rule.match.protocols = 0
	}
	return d.rule
}

// as reads an expression's content.
func as[E any, P interface {
	*E
	expr.Any
}](d *decoder, content []byte) P {
	e := P(new(E))
	if err := expr.Unmarshal(d.table.family, content, e); err != nil {
		d.rule.match.unread = true
	}
	return e
}

func (d *decoder) expression(name string, content []byte) {
	switch name {
	case "counter", "log":
	case "meta":
		d.meta(as[expr.Meta](d, content))
	case "payload":
		e := as[expr.Payload](d, content)
		d.load(e.DestRegister, d.fieldAt(e))
	case "fib":
		// the type of an address: packets to this host have that of one
		d.load(as[expr.Fib](d, content).Register, neutral)
	case "ct":
		d.connection(as[expr.Ct](d, content))
	case "bitwise":
		d.mask(as[expr.Bitwise](d, content))
	case "cmp":
		e := as[expr.Cmp](d, content)
		d.compare(d.fields[register(e.Register)], e.Op, e.Data)
	case "range":
		e := as[expr.Range](d, content)
		d.between(d.fields[register(e.Register)], e)
	case "lookup":
		d.lookup(as[expr.Lookup](d, content))
	case "immediate":
		d.immediate(content)
	case "nat":
		if e := as[expr.NAT](d, content); e.Type == expr.NATTypeDestNAT {
			d.act(translate, "dnat"+d.to(e.RegAddrMin, e.RegProtoMin, e.RegProtoMax))
		}
	case "redir":
		e := as[expr.Redir](d, content)
		d.act(translate, "redirect"+d.to(0, e.RegisterProtoMin, e.RegisterProtoMax))
	case "notrack":
		d.act(untrack, "notrack")
	case "match":
		d.xtMatch(as[expr.Match](d, content))
	case "target":
		d.xtTarget(as[expr.Target](d, content))
	default:
		d.rule.match.unread = true
	}
}

// register returns one number for the two names that a register has: 1-4 of 16 bytes, 8-23 of 4
// (linux/netfilter/nf_tables.h).
func register(r uint32) uint32 {
	if r >= 1 && r <= 4 {
		return 8 + (r-1)*4
	}
	return r
}

func (d *decoder) load(r uint32, f field) {
	d.fields[register(r)] = f
	delete(d.values, register(r))
}

func (d *decoder) meta(e *expr.Meta) {
	if e.SourceRegister {
		return // it sets a mark
	}
	f := unknown
	switch e.Key {
	case expr.MetaKeyL4PROTO:
		f = protocol
	case expr.MetaKeyNFPROTO:
		f = family
	case expr.MetaKeyIIFNAME:
		f = iface
	}
	d.load(e.Register, f)
}

func (d *decoder) connection(e *expr.Ct) {
	f := unknown
	switch {
	case e.Key == expr.CtKeySTATUS:
		f = ctStatus
	case e.Key == expr.CtKeyPROTODST && e.Direction == 0: // IP_CT_DIR_ORIGINAL
		f = originalPort
	}
	d.load(e.Register, f)
}

// dnatStatus is IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h.
const dnatStatus = 1 << 5

func (d *decoder) mask(e *expr.Bitwise) {
	if d.fields[register(e.SourceRegister)] == ctStatus && len(e.Mask) == 4 &&
		binary.NativeEndian.Uint32(e.Mask) == dnatStatus {
		d.load(e.DestRegister, ctTranslated)
		return
	}
	d.rule.match.unread = true
}

// fieldAt tells what stands at a place of the headers. Less than a whole address is a network: nft and iptables
// compare no more bytes than they must.
func (d *decoder) fieldAt(e *expr.Payload) field {
	v4, v6 := d.table.families().Has(rules.IPv4), d.table.families().Has(rules.IPv6)
	switch {
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2:
		return port
	case e.Base != expr.PayloadBaseNetworkHeader:
		return unknown
	case v4 && e.Offset == 9 && e.Len == 1, v6 && e.Offset == 6 && e.Len == 1:
		return protocol
	case v4 && e.Offset == 12 && e.Len <= 4, v6 && e.Offset == 8 && e.Len <= 16:
		return source
	case v4 && e.Offset == 16 && e.Len <= 4, v6 && e.Offset == 24 && e.Len <= 16:
		return destination
	}
	return unknown
}

func (d *decoder) narrow(n match) {
	both, possible := d.rule.match.and(n)
	d.rule.match = both
	d.possible = d.possible && possible
}

func (d *decoder) compare(f field, op expr.CmpOp, value []byte) {
	n := anyPacket()
	equal := op == expr.CmpOpEq
	switch {
	case f == port && len(value) == 2:
		n.ports = compared(op, binary.BigEndian.Uint16(value))
	case f == protocol && len(value) == 1 && equal:
		n.protocols = protocolOf(value[0])
	case f == family && len(value) == 1 && equal:
		n.families = table{family: value[0]}.families()
	case f == destination && equal:
		n.to = d.network(value)
	case f == source && equal:
		n.from = d.network(value)
	case f == iface && equal && len(value) == unix.IFNAMSIZ: // fewer are the beginning of a name
		n.iface = unix.ByteSliceToString(value)
	case f == ctTranslated && op == expr.CmpOpNeq:
		n.translated = true
	case f == originalPort && len(value) == 2:
		n.original = compared(op, binary.BigEndian.Uint16(value))
	case f == neutral, op == expr.CmpOpNeq && (f == source || f == destination || f == iface):
		// what it excludes is little
	default:
		n.unread = true
	}
	d.narrow(n)
}

// compared returns the ports for which a comparison holds.
func compared(op expr.CmpOp, value uint16) []rules.Ports {
	switch op {
	case expr.CmpOpNeq:
		return except(rules.Ports{First: value, Last: value})
	case expr.CmpOpLte:
		return []rules.Ports{{First: 0, Last: value}}
	case expr.CmpOpLt:
		return []rules.Ports{{First: 0, Last: max(value, 1) - 1}}
	case expr.CmpOpGte:
		return []rules.Ports{{First: value, Last: 65535}}
	case expr.CmpOpGt:
		return []rules.Ports{{First: min(value, 65534) + 1, Last: 65535}}
	}
	return []rules.Ports{{First: value, Last: value}}
}

func protocolOf(number byte) rules.Protocols {
	switch number {
	case unix.IPPROTO_TCP:
		return rules.TCP
	case unix.IPPROTO_UDP:
		return rules.UDP
	}
	return 0
}

// network returns the addresses that begin with some bytes. Of an inet table the family is known by what was
// asked before.
func (d *decoder) network(first []byte) []netip.Prefix {
	families, size := d.rule.match.families&d.table.families(), 16
	if families == rules.IPv4 || families == rules.BothFamilies && len(first) <= 4 {
		size = 4
	}
	if len(first) > size {
		return nil
	}
	address, _ := netip.AddrFromSlice(append(slices.Clone(first), make([]byte, size-len(first))...))
	return []netip.Prefix{netip.PrefixFrom(address, len(first)*8)}
}

func (d *decoder) between(f field, e *expr.Range) {
	n := anyPacket()
	if f == port && len(e.FromData) == 2 && len(e.ToData) == 2 {
		ports := rules.Ports{First: binary.BigEndian.Uint16(e.FromData), Last: binary.BigEndian.Uint16(e.ToData)}
		if n.ports = []rules.Ports{ports}; e.Op == expr.CmpOpNeq {
			n.ports = except(ports)
		}
	} else {
		n.unread = true
	}
	d.narrow(n)
}

// lookup asks whether a set or map has the field. What a map has for it is not looked at.
func (d *decoder) lookup(e *expr.Lookup) {
	n := anyPacket()
	f := d.fields[register(e.SourceRegister)]
	keys, all := []key(nil), false
	if !e.Invert && (f == port || f == protocol || f == originalPort) {
		keys, all = elements(d.table, e.SetName)
	}
	switch {
	case !all:
		n.unread = true
	case f == port:
		n.ports = portsOf(keys)
		n.unread = n.ports == nil
	case f == originalPort:
		n.original = portsOf(keys)
		n.unread = n.original == nil
	case f == protocol:
		n.protocols = 0
		for _, k := range keys {
			if len(k.value) == 1 {
				n.protocols |= protocolOf(k.value[0])
			}
		}
	}
	d.narrow(n)
	if e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT {
		d.act(accept, "") // for some of the keys, perhaps: which verdict each has is not looked at
	} else if e.IsDestRegSet {
		d.load(e.DestRegister, unknown)
	}
}

// portsOf returns the ports of a set; nil if it is one of something else.
func portsOf(keys []key) (ports []rules.Ports) {
	slices.SortFunc(keys, func(a, b key) int { // of two at one place, the end of a run comes before the next one
		switch {
		case a.end == b.end || !bytes.Equal(a.value, b.value):
			return slices.Compare(a.value, b.value)
		case a.end:
			return -1
		}
		return 1
	})
	intervals := slices.ContainsFunc(keys, func(k key) bool { return k.end })
	for i, k := range keys {
		if len(k.value) != 2 {
			return nil
		}
		first := binary.BigEndian.Uint16(k.value)
		last := first
		switch {
		case k.end:
			continue
		case intervals && i+1 < len(keys) && len(keys[i+1].value) == 2:
			last = binary.BigEndian.Uint16(keys[i+1].value) - 1
		case intervals:
			last = 65535
		}
		ports = append(ports, rules.Ports{First: first, Last: last})
	}
	return ports
}

// immediate puts a value into a register, or ends the rule with a verdict.
func (d *decoder) immediate(content []byte) {
	e := as[expr.Immediate](d, content)
	if e.Register != unix.NFT_REG_VERDICT {
		d.load(e.Register, unknown)
		d.values[register(e.Register)] = e.Data
		return
	}
	switch v := as[expr.Verdict](d, content); v.Kind {
	case expr.VerdictJump, expr.VerdictGoto:
		d.rule.jump = v.Chain
	case expr.VerdictAccept:
		d.act(accept, "")
	}
}

func (d *decoder) act(a action, to string) { d.rule.action, d.rule.to = a, to }

// to writes where a translation leads, from the registers that hold it.
func (d *decoder) to(address, first, last uint32) string {
	var addr netip.Addr
	var ports rules.Ports
	if address != 0 {
		var ok bool
		if addr, ok = netip.AddrFromSlice(d.values[register(address)]); !ok {
			return " by a map"
		}
	}
	if first != 0 {
		value := d.values[register(first)]
		if len(value) != 2 {
			return " by a map"
		}
		ports.First = binary.BigEndian.Uint16(value)
		ports.Last = ports.First
		if value := d.values[register(last)]; len(value) == 2 {
			ports.Last = binary.BigEndian.Uint16(value)
		}
	}
	return destinationText(addr, ports)
}

// destinationText writes " to 172.17.0.2:443"; a zero address or zero ports stay as they are.
func destinationText(addr netip.Addr, ports rules.Ports) string {
	text := ""
	switch {
	case addr.Is6() && ports.First != 0:
		text = "[" + addr.String() + "]"
	case addr.IsValid():
		text = addr.String()
	}
	if ports.First != 0 {
		text += ":" + ports.String()
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" to %s", text)
}
