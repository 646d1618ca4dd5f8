package others

import (
	"encoding/binary"
	"net/netip"

	"portmap/internal/attribute"
	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// field is what a register of nf_tables holds.
type field int

const (
	unknown     field = iota
	addressType       // of the destination
	port              // the destination port
	protocol
	family
	source
	destination
	iface
	arrival      // the same by its index
	departure    // the interface on which it leaves
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
	attribute.Each(expressions, func(_ uint16, expression []byte) {
		var name string
		var content []byte
		attribute.Each(expression, func(kind uint16, value []byte) {
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
	case "limit", "connlimit", "quota", "dynset":
		d.rule.match.limited = true
		d.rule.match.unread = true
	case "meta":
		d.meta(as[expr.Meta](d, content))
	case "payload":
		e := as[expr.Payload](d, content)
		d.load(e.DestRegister, d.fieldAt(e))
	case "fib":
		f, e := unknown, as[expr.Fib](d, content)
		if e.ResultADDRTYPE && e.FlagDADDR {
			f = addressType
		}
		d.load(e.Register, f)
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
	case "reject":
		d.act(drop, "reject")
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
	case expr.MetaKeyIIF:
		f = arrival
	case expr.MetaKeyOIF, expr.MetaKeyOIFNAME:
		f = departure
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
	case expr.VerdictReturn:
		d.act(leave, "")
	case expr.VerdictDrop:
		d.act(drop, "drop")
	}
}

func (d *decoder) act(a action, to string) {
	if d.rule.action != untrack || a != accept { // "notrack accept" is what its first word says
		d.rule.action, d.rule.to = a, to
	}
}

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
