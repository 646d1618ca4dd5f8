package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	stdmaps "maps"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// key is what the elements of a map or set are told apart by: the protocol and the port, behind an address of a family
// where one is named.
type key struct {
	address rules.Families // of the address that a packet is sent to; 0 for none

	// target makes it the key of a translated connection: the port is the one that its client used, and behind it stand
	// the address, of this family, and the port where it goes.
	target rules.Families
}

func (k key) datatype() nftables.SetDatatype {
	types := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	if k.address != 0 {
		types = append([]nftables.SetDatatype{addressType(k.address)}, types...)
	}
	if k.target != 0 {
		types = append(types, addressType(k.target), nftables.TypeInetService)
	}
	return nftables.MustConcatSetType(types...)
}

// text is the key as nft writes it, in a rule and, as types, in the declaration of the map.
func (k key) text() (rule, types string) {
	rule, types = "meta l4proto . th dport", "inet_proto . inet_service"
	if k.target != 0 {
		rule = fmt.Sprintf("meta l4proto . ct original proto-dst . %s daddr . th dport", addrWord(k.target))
		types += " . " + dataTypeText(k.target)
	}
	if k.address != 0 {
		address, _, _ := strings.Cut(dataTypeText(k.address), " ")
		return fmt.Sprintf("%s daddr . %s", addrWord(k.address), rule), address + " . " + types
	}
	return rule, types
}

// load puts the key of a packet into the registers from the first one on.
func (k key) load() (exprs []expr.Any) {
	at := uint32(regKey)
	register := func(length uint32) uint32 {
		this := at
		if at += (length + 3) / 4; this == regKey {
			return regFirst
		}
		return this
	}
	if k.address != 0 {
		exprs = append(exprs, destinationField(k.address, register(addressType(k.address).Bytes)))
	}
	exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(1)})
	if k.target == 0 {
		return append(exprs, portField(register(2)))
	}
	exprs = append(exprs, originalPort(register(2)))
	return append(exprs, destinationField(k.target, register(addressType(k.target).Bytes)), portField(register(2)))
}

// append appends a key of the range.
func (k key) append(b []byte, r *keyRange, number int) []byte {
	b = appendKey(b, r.address, r.protocol, r.ports.First+uint16(number))
	if k.target != 0 {
		b = append(b, dataBytes(r.to, r.target+uint16(number))...)
	}
	return b
}

// keyRange is the elements of a mapping in one map or set: one for each of some ports. In a map each port has its own
// target, N to N.
type keyRange struct {
	address  netip.Addr // if the key has one
	protocol rules.Protocols
	ports    rules.Ports
	to       netip.Addr // of the server, if a map or key has one
	target   uint16     // of the first port; 0 in a set without targets
}

// explains reports whether an element of a map is one of these.
func (r *keyRange) explains(el element) bool {
	address := r.address.BitLen() / 8
	if len(el.key) != address+8 || el.key[address] != r.protocol.Number() {
		return false
	}
	port := keyPort(el.key)
	var buffer [maxKey]byte
	return r.ports.Contains(port) && bytes.Equal(dataBytes(r.to, r.target+(port-r.ports.First)), el.data) &&
		bytes.Equal(appendKey(buffer[:0], r.address, r.protocol, port), el.key)
}

// maxKey is the length of the longest key: a protocol, a port, an IPv6 address and another port.
const maxKey = 28

// appendKey joins the parts of a key as the kernel's registers do: each begins at a multiple of four bytes.
func appendKey(key []byte, address netip.Addr, protocol rules.Protocols, port uint16) []byte {
	switch address.BitLen() {
	case 32:
		a := address.As4()
		key = append(key, a[:]...)
	case 128:
		a := address.As16()
		key = append(key, a[:]...)
	}
	key = append(key, protocol.Number(), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, port), 0, 0)
}

func elementKey(address netip.Addr, protocol rules.Protocols, port uint16) []byte {
	return appendKey(make([]byte, 0, maxKey), address, protocol, port)
}

// keyPort returns the port of a key that is long enough to have one.
func keyPort(key []byte) uint16 { return binary.BigEndian.Uint16(key[len(key)-4:]) }

// isTCP reports whether a key is for TCP.
func isTCP(key []byte) bool { return len(key) >= 8 && key[len(key)-8] == unix.IPPROTO_TCP }

// isTCPElement reports whether an element can be one of a set of ports that is for TCP.
func isTCPElement(e element) bool { return len(e.key) == 8 && isTCP(e.key) }

func isAny(element) bool { return true }

// value writes a key as nft does: "192.0.2.7 . tcp . 443".
func (k key) value(b []byte) (text string) {
	if k.address != 0 {
		length := int(addressType(k.address).Bytes)
		a, _ := netip.AddrFromSlice(b[:length])
		text, b = a.String()+" . ", b[length:]
	}
	protocol := "tcp"
	if b[0] == unix.IPPROTO_UDP {
		protocol = "udp"
	}
	text += fmt.Sprintf("%s . %d", protocol, binary.BigEndian.Uint16(b[4:]))
	if k.target != 0 {
		text += " . " + dataText(b[8:])
	}
	return text
}

// keySet is keys of a set, of which several mappings may have the same.
type keySet struct {
	key   key
	ports map[rules.Protocols]*portBits // where a key is a port
	more  map[string]bool               // where there is an address in it
}

type portBits [1 << 16 / 64]uint64

func newKeySet(k key) keySet { return keySet{k, map[rules.Protocols]*portBits{}, map[string]bool{}} }

func (s keySet) add(r keyRange) {
	if s.key != (key{}) {
		for i := range r.ports.Count() {
			s.more[string(s.key.append(nil, &r, i))] = true
		}
		return
	}
	if s.ports[r.protocol] == nil {
		s.ports[r.protocol] = &portBits{}
	}
	for port := int(r.ports.First); port <= int(r.ports.Last); port++ {
		s.ports[r.protocol][port/64] |= 1 << (port % 64)
	}
}

func (s keySet) remove(r keyRange) {
	if s.key != (key{}) {
		for i := range r.ports.Count() {
			delete(s.more, string(s.key.append(nil, &r, i)))
		}
		return
	}
	if b := s.ports[r.protocol]; b != nil {
		for port := int(r.ports.First); port <= int(r.ports.Last); port++ {
			b[port/64] &^= 1 << (port % 64)
		}
	}
}

func (s keySet) empty() bool {
	for _, b := range s.ports {
		if *b != (portBits{}) {
			return false
		}
	}
	return len(s.more) == 0
}

// each calls f for each key, in order, until it returns false.
func (s keySet) each(f func(key []byte) bool) {
	for _, protocol := range slices.Sorted(stdmaps.Keys(s.ports)) {
		for i, word := range s.ports[protocol] {
			for ; word != 0; word &= word - 1 {
				if !f(elementKey(netip.Addr{}, protocol, uint16(i*64+bits.TrailingZeros64(word)))) {
					return
				}
			}
		}
	}
	for _, key := range slices.Sorted(stdmaps.Keys(s.more)) {
		if !f([]byte(key)) {
			return
		}
	}
}
