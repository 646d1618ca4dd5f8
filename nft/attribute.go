package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// header is struct nfgenmsg (linux/netfilter/nfnetlink.h), which begins each message.
func header() []byte { return []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0} }

// body returns a message without its nfgenmsg.
func body(message []byte) []byte { return message[min(len(message), len(header())):] }

// attributes calls each for every netlink attribute in b. An attribute whose length is invalid ends it.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER),
			b[unix.SizeofNlAttr:length])
		b = b[min(nlaAlign(length), len(b)):]
	}
}

// attributeMap is a message or a nested attribute, taken apart. Of several of one kind it has the last.
type attributeMap map[uint16][]byte

func fields(b []byte) attributeMap {
	m := attributeMap{}
	attributes(b, func(kind uint16, value []byte) { m[kind] = value })
	return m
}

// number returns an attribute of 32 bits, 0 where it is missing.
func (m attributeMap) number(kind uint16) uint32 {
	if v := m[kind]; len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (m attributeMap) text(kind uint16) string { return unix.ByteSliceToString(m[kind]) }

func nlaAlign(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

func stringAttribute(kind uint16, s string) []byte {
	length := unix.SizeofNlAttr + len(s) + 1
	b := make([]byte, nlaAlign(length))
	binary.NativeEndian.PutUint16(b, uint16(length))
	binary.NativeEndian.PutUint16(b[2:], kind)
	copy(b[unix.SizeofNlAttr:], s)
	return b
}
