package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// keyRange is the elements of a mapping in one map or set: one for each of some ports. In a map each port has its own
// target, N to N.
type keyRange struct {
	address  netip.Addr // if the key has one
	protocol rules.Protocols
	ports    rules.Ports
	target   uint16 // of the first port; 0 in a set
}

// explains reports whether an element of a map is one of these.
func (r *keyRange) explains(el element) bool {
	address := r.address.BitLen() / 8
	if len(el.key) != address+8 || el.key[address] != r.protocol.Number() {
		return false
	}
	port := keyPort(el.key)
	var buffer [maxKey]byte
	return r.ports.Contains(port) && r.target+(port-r.ports.First) == el.target &&
		bytes.Equal(appendKey(buffer[:0], r.address, r.protocol, port), el.key)
}

// maxKey is the length of the longest key: an IPv6 address, a protocol and a port.
const maxKey = 24

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

// keyValue writes a key as nft does: "192.0.2.7 . tcp . 443".
func keyValue(key []byte) string {
	protocol := "tcp"
	if !isTCP(key) {
		protocol = "udp"
	}
	text := fmt.Sprintf("%s . %d", protocol, keyPort(key))
	if a, ok := netip.AddrFromSlice(key[:len(key)-8]); ok {
		text = a.String() + " . " + text
	}
	return text
}

// keySet is a set of keys, of which several mappings may have the same.
type keySet map[keyGroup]*portBits

// keyGroup is what keys have in common that differ only in their port.
type keyGroup struct {
	address  netip.Addr
	protocol rules.Protocols
}

type portBits [1 << 16 / 64]uint64

func (s keySet) add(r keyRange) {
	group := keyGroup{r.address, r.protocol}
	if s[group] == nil {
		s[group] = &portBits{}
	}
	for port := int(r.ports.First); port <= int(r.ports.Last); port++ {
		s[group][port/64] |= 1 << (port % 64)
	}
}

func (s keySet) remove(r keyRange) {
	if b := s[keyGroup{r.address, r.protocol}]; b != nil {
		for port := int(r.ports.First); port <= int(r.ports.Last); port++ {
			b[port/64] &^= 1 << (port % 64)
		}
	}
}

func (s keySet) empty() bool {
	for _, b := range s {
		if *b != (portBits{}) {
			return false
		}
	}
	return true
}

// each calls f for each key, in order, until it returns false.
func (s keySet) each(f func(keyGroup, uint16) bool) {
	groups := make([]keyGroup, 0, len(s))
	for g := range s {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b keyGroup) int {
		if c := a.address.Compare(b.address); c != 0 {
			return c
		}
		return int(a.protocol) - int(b.protocol)
	})
	for _, g := range groups {
		for i, word := range s[g] {
			for ; word != 0; word &= word - 1 {
				if !f(g, uint16(i*64+bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}
