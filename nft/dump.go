package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Maps are listed here and not by google/nftables, for two reasons. It reads 4 kB at a time, and the kernel begins each such
// piece by walking over all elements it has sent before: 60,000 take over a second, with pieces of 32 kB a fifth of one. And
// it does not look at NLM_F_DUMP_INTR, by which the kernel says that the list changed while it was read.

// lister asks the kernel for a list and hands over each message of it, without the netlink header.
type lister func(request, answer uint16, body []byte, each func(message []byte)) error

func listKernel(request, answer uint16, body []byte, each func(message []byte)) error {
	req := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
	req.AddRawData(body)
	return req.ExecuteIter(unix.NETLINK_NETFILTER, answer, func(message []byte) bool {
		each(message)
		return true
	})
}

const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// header is struct nfgenmsg (linux/netfilter/nfnetlink.h), which begins each message.
func header() []byte { return []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0} }

const interruptions = 20

// again repeats a reading that the kernel says was interrupted.
func again(read func() error) error {
	var err error
	for range interruptions {
		if err = read(); !errors.Is(err, vnetlink.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return fmt.Errorf("the rules changed %d times while they were read: %w", interruptions, err)
}

// query asks for something small, over the connection that is open anyway.
func (b *Backend) query(kind uint16, flags netlink.HeaderFlags, attributes []byte) ([]netlink.Message, error) {
	b.socket.wait()
	answer, err := b.socket.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem | kind), Flags: netlink.Request | flags},
		Data:   append(header(), attributes...),
	})
	for _, m := range answer {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, vnetlink.ErrDumpInterrupted
		}
	}
	return answer, err
}

// body returns a message without its nfgenmsg.
func body(message []byte) []byte { return message[min(len(message), len(header())):] }

// generation returns the number that the kernel counts up with each change of any rule: lists that were read under the
// same number belong together.
func (b *Backend) generation() (id uint32, err error) {
	answer, err := b.query(unix.NFT_MSG_GETGEN, 0, nil)
	for _, m := range answer {
		attributes(body(m.Data), func(kind uint16, value []byte) {
			if kind == unix.NFTA_GEN_ID && len(value) == 4 {
				id = binary.BigEndian.Uint32(value)
			}
		})
	}
	return id, kernelError(err)
}

// attributes calls each for every netlink attribute in b. What does not hold together ends it.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofNlAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofNlAttr || length > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofNlAttr:length])
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

// element is one element of one of the maps.
type element struct {
	key     []byte
	end     bool // of an interval set: the run that began before it ends here
	target  uint16
	comment []byte
	packets uint64
}

// elements lists a map. begin is called before each reading: there may be several. What is handed over is decodeElement's.
func (b *Backend) elements(set string, begin func(), each func(encoded []byte)) error {
	return again(func() error {
		begin()
		return b.list(subsystem|unix.NFT_MSG_GETSETELEM, subsystem|unix.NFT_MSG_NEWSETELEM, elementsRequest(set),
			func(m []byte) { eachElement(m, each) })
	})
}

func elementsRequest(set string) []byte {
	request := append(header(), stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)...)
	return append(request, stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, set)...)
}

// eachElement takes a message with elements apart.
func eachElement(message []byte, each func(encoded []byte)) {
	attributes(body(message), func(kind uint16, list []byte) {
		if kind == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			attributes(list, func(_ uint16, e []byte) { each(e) })
		}
	})
}

// elementsOf lists a set or map that is small, or of which all is wanted.
func (b *Backend) elementsOf(set string) (found []element, err error) {
	err = b.elements(set, func() { found = found[:0] }, func(e []byte) { found = append(found, decodeElement(e)) })
	return found, err
}

func decodeElement(b []byte) (e element) {
	attributes(b, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			attributes(value, func(_ uint16, v []byte) { e.key = v })
		case unix.NFTA_SET_ELEM_DATA:
			attributes(value, func(_ uint16, v []byte) {
				if len(v) >= 2 {
					e.target = binary.BigEndian.Uint16(v)
				}
			})
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = len(value) == 4 && binary.BigEndian.Uint32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_USERDATA:
			e.comment = comment(value, 0)
		case unix.NFTA_SET_ELEM_EXPR:
			e.packets = packets(value)
		}
	})
	return e
}

// comment finds the comment in user data: type, length and value of a byte, a byte and a string with its NUL. Its type is 0 in
// elements and rules, and another in sets (libnftnl, include/libnftnl/udata.h).
func comment(userdata []byte, kind byte) []byte {
	for len(userdata) >= 2 {
		length := int(userdata[1])
		if length > len(userdata)-2 {
			return nil
		}
		if userdata[0] == kind && length > 0 {
			return userdata[2 : 2+length-1]
		}
		userdata = userdata[2+length:]
	}
	return nil
}

// packets returns what an expression has counted, 0 for one that is no counter.
func packets(expression []byte) (n uint64) {
	var name string
	attributes(expression, func(kind uint16, value []byte) {
		switch {
		case kind == unix.NFTA_EXPR_NAME:
			name = unix.ByteSliceToString(value)
		case kind == unix.NFTA_EXPR_DATA && name == "counter":
			attributes(value, func(kind uint16, v []byte) {
				if kind == unix.NFTA_COUNTER_PACKETS && len(v) == 8 {
					n = binary.BigEndian.Uint64(v)
				}
			})
		}
	})
	return n
}

// kernelRule is a rule as the kernel lists it.
type kernelRule struct {
	chain   string
	handle  uint64
	comment string
	packets uint64
	exprs   [][]byte
}

// rules lists the rules of the table, of one chain or of all.
func (b *Backend) rules(chain string) (list []kernelRule, err error) {
	request := stringAttribute(unix.NFTA_RULE_TABLE, tableName)
	if chain != "" {
		request = append(request, stringAttribute(unix.NFTA_RULE_CHAIN, chain)...)
	}
	err = again(func() error {
		answer, err := b.query(unix.NFT_MSG_GETRULE, netlink.Dump, request)
		list = nil
		for _, m := range answer {
			list = append(list, decodeRule(body(m.Data)))
		}
		return err
	})
	return list, err
}

func decodeRule(m []byte) (r kernelRule) {
	attributes(m, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_RULE_CHAIN:
			r.chain = unix.ByteSliceToString(value)
		case unix.NFTA_RULE_HANDLE:
			if len(value) == 8 {
				r.handle = binary.BigEndian.Uint64(value)
			}
		case unix.NFTA_RULE_USERDATA:
			r.comment = string(comment(value, 0))
		case unix.NFTA_RULE_EXPRESSIONS:
			attributes(value, func(_ uint16, e []byte) {
				r.packets += packets(e)
				r.exprs = append(r.exprs, e)
			})
		}
	})
	return r
}

// kernelChain is a chain as the kernel lists it.
type kernelChain struct {
	base           bool
	kind           string
	hook, priority uint32
	policy         uint32
}

func (b *Backend) chain(name string) (c kernelChain, err error) {
	request := append(stringAttribute(unix.NFTA_CHAIN_TABLE, tableName), stringAttribute(unix.NFTA_CHAIN_NAME, name)...)
	answer, err := b.query(unix.NFT_MSG_GETCHAIN, 0, request)
	for _, m := range answer {
		f := fields(body(m.Data))
		hook, base := f[unix.NFTA_CHAIN_HOOK]
		h := fields(hook)
		c = kernelChain{
			base: base, kind: f.text(unix.NFTA_CHAIN_TYPE), policy: f.number(unix.NFTA_CHAIN_POLICY),
			hook: h.number(unix.NFTA_HOOK_HOOKNUM), priority: h.number(unix.NFTA_HOOK_PRIORITY),
		}
	}
	return c, err
}

// chainUses returns how many rules a chain has, together with the jumps that lead to it.
func (b *Backend) chainUses(name string) (n uint32, err error) {
	request := append(stringAttribute(unix.NFTA_CHAIN_TABLE, tableName), stringAttribute(unix.NFTA_CHAIN_NAME, name)...)
	answer, err := b.query(unix.NFT_MSG_GETCHAIN, 0, request)
	for _, m := range answer {
		n = fields(body(m.Data)).number(unix.NFTA_CHAIN_USE)
	}
	return n, err
}

// kernelSet is a set or map as the kernel lists it, without its elements.
type kernelSet struct {
	name     string
	flags    uint32
	keyType  uint32
	keyLen   uint32
	dataType uint32
	dataLen  uint32
	size     uint32 // at most so many elements; 0 for any number
	exprs    string // what each element carries: names, joined by spaces
	comment  string
}

func (b *Backend) set(name string) (s kernelSet, err error) {
	request := append(stringAttribute(unix.NFTA_SET_TABLE, tableName), stringAttribute(unix.NFTA_SET_NAME, name)...)
	answer, err := b.query(unix.NFT_MSG_GETSET, 0, request)
	for _, m := range answer {
		s = decodeSet(fields(body(m.Data)))
	}
	return s, err
}

// sets lists the sets and maps of the table, anonymous ones, too.
func (b *Backend) sets() (list []kernelSet, err error) {
	err = again(func() error {
		answer, err := b.query(unix.NFT_MSG_GETSET, netlink.Dump, stringAttribute(unix.NFTA_SET_TABLE, tableName))
		list = nil
		for _, m := range answer {
			list = append(list, decodeSet(fields(body(m.Data))))
		}
		return err
	})
	return list, err
}

func decodeSet(f attributeMap) kernelSet {
	s := kernelSet{
		name:     f.text(unix.NFTA_SET_NAME),
		flags:    f.number(unix.NFTA_SET_FLAGS),
		keyType:  f.number(unix.NFTA_SET_KEY_TYPE),
		keyLen:   f.number(unix.NFTA_SET_KEY_LEN),
		dataType: f.number(unix.NFTA_SET_DATA_TYPE),
		dataLen:  f.number(unix.NFTA_SET_DATA_LEN),
		size:     fields(f[unix.NFTA_SET_DESC]).number(unix.NFTA_SET_DESC_SIZE),
		comment:  string(comment(f[unix.NFTA_SET_USERDATA], setComment)),
	}
	var names []string
	if e, one := f[nftaSetExpr]; one {
		names = append(names, fields(e).text(unix.NFTA_EXPR_NAME))
	}
	attributes(f[nftaSetExpressions], func(_ uint16, e []byte) { names = append(names, fields(e).text(unix.NFTA_EXPR_NAME)) })
	s.exprs = strings.Join(names, " ")
	return s
}

// isAbsent reports whether the kernel has no object of that name.
func isAbsent(err error) bool { return errors.Is(err, unix.ENOENT) }
