package others

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sort"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What the comparisons and lookups of a rule leave of all packets.

func (d *decoder) narrow(n match) {
	both, possible := d.rule.match.and(n)
	d.rule.match = both
	d.possible = d.possible && possible
}

func (d *decoder) compare(f field, op expr.CmpOp, value []byte) {
	n := anyPacket()
	equal := op == expr.CmpOpEq
	n.asks(f, !isLoopback(f, value))
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
	case f == iface && equal && bytes.IndexByte(value, 0) >= 0: // else it is the beginning of a name
		n.iface = unix.ByteSliceToString(value)
	case f == arrival && equal:
		n.iface = interfaceOf(f, value)
		n.unread = n.iface == ""
	case f == ctTranslated && op == expr.CmpOpNeq:
		n.translated = true
	case f == originalPort && len(value) == 2:
		n.original = compared(op, binary.BigEndian.Uint16(value))
	case f == addressType && equal && len(value) == 4 && binary.NativeEndian.Uint32(value) == unix.RTN_LOCAL:
		// which all packets to this host have
	case op == expr.CmpOpNeq && (f == source || f == destination || f == iface || f == arrival):
		// what it excludes is little
	default:
		n.unread = true
	}
	d.narrow(n)
}

// asks notes that a field tells clients apart.
func (m *match) asks(f field, apart bool) {
	m.sender = m.sender || apart && (f == source || f == iface || f == arrival)
	m.receiver = m.receiver || apart && (f == destination || f == departure)
}

// isLoopback reports whether a value is the loopback interface, by its name or its index, or its addresses.
func isLoopback(f field, value []byte) bool {
	switch {
	case f == source || f == destination:
		return len(value) > 0 && len(value) <= 4 && value[0] == 127 ||
			len(value) == 16 && netip.AddrFrom16([16]byte(value)).IsLoopback()
	case f != iface && f != arrival && f != departure:
		return false
	case len(value) == 4:
		return binary.NativeEndian.Uint32(value) == 1
	}
	return unix.ByteSliceToString(value) == "lo"
}

// interfaceOf returns the name of an interface that a field has; "" if this host has none.
func interfaceOf(f field, value []byte) string {
	if f == iface {
		return unix.ByteSliceToString(value)
	}
	if len(value) == 4 {
		if link, err := net.InterfaceByIndex(int(binary.NativeEndian.Uint32(value))); err == nil {
			return link.Name
		}
	}
	return ""
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
	first := register(e.SourceRegister)
	f := d.fields[first]
	for r := first; ; r++ { // several fields stand in registers one behind another
		each, loaded := d.fields[r]
		if !loaded {
			break
		}
		n.asks(each, true)
	}
	decides := e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT
	if _, several := d.fields[first+1]; decides && !several && (f == iface || f == arrival) {
		d.narrow(n)
		d.branch(f, e.SetName)
		return
	}
	keys, all := []key(nil), false
	if !e.Invert && (f == port || f == protocol || f == originalPort || f == source) {
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
	case f == source:
		n.from = networksOf(keys)
		n.unread = n.from == nil
	case f == protocol:
		n.protocols = 0
		for _, k := range keys {
			if len(k.value) == 1 {
				n.protocols |= protocolOf(k.value[0])
			}
		}
	}
	d.narrow(n)
	if decides {
		d.act(accept, someOf) // perhaps: which verdict each key has is not looked at
	} else if e.IsDestRegSet {
		d.load(e.DestRegister, unknown)
	}
}

// branch makes a rule of each interface to which a map gives a verdict.
func (d *decoder) branch(f field, set string) {
	keys, _ := elements(d.table, set)
	for _, k := range keys {
		r := rule{match: anyPacket()}
		if r.match.iface = interfaceOf(f, k.value); r.match.iface == "" {
			continue
		}
		r.match.asks(f, r.match.iface != "lo")
		k.verdict(&r)
		d.rule.branches = append(d.rule.branches, r)
	}
}

// networksOf returns the networks of a set of addresses; nil if it is one of something else, or a range in it is no
// network.
func networksOf(keys []key) (list []netip.Prefix) {
	sortKeys(keys)
	intervals := slices.ContainsFunc(keys, func(k key) bool { return k.end })
	for i, k := range keys {
		first, ok := netip.AddrFromSlice(k.value)
		switch {
		case !ok:
			return nil
		case k.end:
		case !intervals:
			list = append(list, netip.PrefixFrom(first, first.BitLen()))
		case i+1 == len(keys):
			return nil
		default:
			behind, _ := netip.AddrFromSlice(keys[i+1].value)
			network, ok := networkOf(first, behind)
			if !ok {
				return nil
			}
			list = append(list, network)
		}
	}
	return list
}

// networkOf returns the network that begins with an address and ends before another one.
func networkOf(first, behind netip.Addr) (netip.Prefix, bool) {
	for bits := first.BitLen(); bits > 0; bits-- {
		network := netip.PrefixFrom(first, bits)
		switch last := behind.Prev(); {
		case network.Masked().Addr() != first:
			return network, false
		case network.Contains(last):
			return network, !network.Contains(behind)
		}
	}
	return netip.Prefix{}, false
}

// sortKeys sorts the keys of a set: of two at one place, the end of a run comes before the next one.
func sortKeys(keys []key) {
	sort.Slice(keys, func(i, k int) bool {
		a, b := keys[i], keys[k]
		if a.end == b.end || !bytes.Equal(a.value, b.value) {
			return bytes.Compare(a.value, b.value) < 0
		}
		return a.end
	})
}

// portsOf returns the ports of a set; nil if it is one of something else.
func portsOf(keys []key) (ports []rules.Ports) {
	sortKeys(keys)
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
