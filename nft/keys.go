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

// key is what the elements of a map or set are told apart by: the protocol and the port, and before and behind them
// what is asked for. The zero value is the protocol and the port alone.
type key struct {
	iface   bool           // the interface that a packet came by
	family  bool           // its family
	address rules.Families // of the address that a packet is sent to; 0 for none

	// target makes it the key of a translated connection: the port is the one that its client used, and behind it stand
	// the address, of this family, and the port where it goes.
	target rules.Families

	// source makes it the key of a segment that comes from a server: address and port are those of the source.
	source bool

	// answer makes it the key of an answer: the address is the source, the port is the one that its client used, and
	// behind it stands the source port.
	answer bool
	uid    bool // the user of the socket that sends it
}

// keyField is one field of a key.
type keyField struct {
	kind nftables.SetDatatype
	text string // as nft writes it in a rule
	load func(register uint32) expr.Any
}

func metaField(kind nftables.SetDatatype, text string, key expr.MetaKey) keyField {
	return keyField{kind, text, func(register uint32) expr.Any { return &expr.Meta{Key: key, Register: register} }}
}

func payloadField(kind nftables.SetDatatype, text string, load func(uint32) *expr.Payload) keyField {
	return keyField{kind, text, func(register uint32) expr.Any { return load(register) }}
}

// fields returns the fields of a key, in order.
func (k key) fields() (list []keyField) {
	port := nftables.TypeInetService
	addressField := func(f rules.Families, source bool) {
		word, load := "daddr", destinationField
		if source {
			word, load = "saddr", sourceField
		}
		list = append(list, payloadField(addressType(f), addrWord(f)+" "+word,
			func(r uint32) *expr.Payload { return load(f, r) }))
	}
	if k.iface {
		list = append(list, metaField(nftables.TypeIFName, "iifname", expr.MetaKeyIIFNAME))
	}
	if k.family {
		list = append(list, metaField(nftables.TypeNFProto, "meta nfproto", expr.MetaKeyNFPROTO))
	}
	if k.address != 0 {
		addressField(k.address, k.answer || k.source)
	}
	list = append(list, metaField(nftables.TypeInetProto, "meta l4proto", expr.MetaKeyL4PROTO))
	if k.target != 0 || k.answer {
		list = append(list, keyField{port, "ct original proto-dst", originalPort})
	}
	if k.target != 0 {
		addressField(k.target, false)
	}
	if k.answer || k.source {
		list = append(list, payloadField(port, "th sport", sourcePortField))
	} else {
		list = append(list, payloadField(port, "th dport", portField))
	}
	if k.uid {
		list = append(list, metaField(nftables.TypeUID, "meta skuid", expr.MetaKeySKUID))
	}
	return list
}

func (k key) datatype() nftables.SetDatatype {
	var types []nftables.SetDatatype
	for _, f := range k.fields() {
		types = append(types, f.kind)
	}
	return nftables.MustConcatSetType(types...)
}

// text is the key as nft writes it, in a rule and, as types, in the declaration of the map.
func (k key) text() (rule, types string) {
	var words []string
	for _, f := range k.fields() {
		words = append(words, f.text)
	}
	return strings.Join(words, " . "), k.datatype().Name
}

// load puts the key of a packet into the registers from the first one on.
func (k key) load() (exprs []expr.Any) {
	at := uint32(regKey)
	for i, f := range k.fields() {
		register := at
		if i == 0 {
			register = regFirst
		}
		exprs = append(exprs, f.load(register))
		at += (f.kind.Bytes + 3) / 4
	}
	return exprs
}

// append appends a key of the range.
func (k key) append(b []byte, r *keyRange, number int) []byte {
	if k.iface {
		var name [unix.IFNAMSIZ]byte
		copy(name[:], r.iface)
		b = append(b, name[:]...)
	}
	if k.family {
		b = append(b, familyNumber(r.family), 0, 0, 0)
	}
	b = appendKey(b, r.address, r.protocol, r.ports.First+uint16(number))
	switch target := r.target + uint16(number); {
	case k.target != 0:
		b = append(b, dataBytes(r.to, target)...)
	case k.answer:
		b = append(binary.BigEndian.AppendUint16(b, target), 0, 0)
	}
	if k.uid {
		b = binary.NativeEndian.AppendUint32(b, r.uid)
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
	chain    string     // to which an element of a verdict map leads

	iface  string         // if the key has one
	family rules.Families // the same
	uid    uint32         // the same
}

// explains reports whether an element of a map with such keys is one of these.
func (k key) explains(r *keyRange, el element) bool {
	if len(el.key) < portLength {
		return false
	}
	port := keyPort(el.key)
	if !r.ports.Contains(port) {
		return false
	}
	number := int(port - r.ports.First)
	var buffer [maxKey]byte
	return bytes.Equal(r.data(number), el.data) && bytes.Equal(k.append(buffer[:0], r, number), el.key)
}

// data is where the element of a map leads.
func (r *keyRange) data(number int) []byte {
	if r.chain != "" {
		return []byte(r.chain)
	}
	return dataBytes(r.to, r.target+uint16(number))
}

// maxKey is the length of the longest key: an interface, an IPv6 address, a protocol and a port.
const maxKey = unix.IFNAMSIZ + 16 + 4 + 4

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

// portLength is how many bytes of a key are a port, with the padding behind it.
const portLength = 4

// keyPort returns the port at the end of a key that is long enough to have one.
func keyPort(key []byte) uint16 { return binary.BigEndian.Uint16(key[len(key)-portLength:]) }

// isTCP reports whether a key is for TCP.
func isTCP(key []byte) bool { return len(key) >= 8 && key[len(key)-8] == unix.IPPROTO_TCP }

// isTCPElement reports whether an element can be one of a set of ports that is for TCP.
func isTCPElement(e element) bool { return len(e.key) == 8 && isTCP(e.key) }

func isAny(element) bool { return true }

// value writes a key as nft does: "192.0.2.7 . tcp . 443".
func (k key) value(b []byte) string {
	var parts []string
	take := func(n int) []byte {
		field := b[:n]
		b = b[n:]
		return field
	}
	if k.iface {
		parts = append(parts, `"`+unix.ByteSliceToString(take(unix.IFNAMSIZ))+`"`)
	}
	switch {
	case k.family && take(4)[0] == unix.NFPROTO_IPV4:
		parts = append(parts, "ipv4")
	case k.family:
		parts = append(parts, "ipv6")
	}
	if k.address != 0 {
		a, _ := netip.AddrFromSlice(take(int(addressType(k.address).Bytes)))
		parts = append(parts, a.String())
	}
	protocol := "tcp"
	if take(4)[0] == unix.IPPROTO_UDP {
		protocol = "udp"
	}
	parts = append(parts, protocol, fmt.Sprint(binary.BigEndian.Uint16(take(4))))
	switch {
	case k.target != 0:
		parts = append(parts, dataText(b))
	case k.answer:
		parts = append(parts, fmt.Sprint(binary.BigEndian.Uint16(take(4))))
	}
	if k.uid {
		parts = append(parts, fmt.Sprint(binary.NativeEndian.Uint32(take(4))))
	}
	return strings.Join(parts, " . ")
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
