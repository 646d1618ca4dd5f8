package nft

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// comment finds the comment in user data: type, length and value of a byte, a byte and a string with its NUL.
// Its type is 0 in elements and rules, and another in sets (libnftnl, include/libnftnl/udata.h).
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
func (k *kernel) rules(chain string) (list []kernelRule, err error) {
	request := stringAttribute(unix.NFTA_RULE_TABLE, tableName)
	if chain != "" {
		request = append(request, stringAttribute(unix.NFTA_RULE_CHAIN, chain)...)
	}
	err = k.dump(unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, request, func() { list = nil }, func(m []byte) {
		list = append(list, decodeRule(m))
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

func (k *kernel) chain(name string) (c kernelChain, err error) {
	request := append(stringAttribute(unix.NFTA_CHAIN_TABLE, tableName), stringAttribute(unix.NFTA_CHAIN_NAME, name)...)
	answer, err := k.query(unix.NFT_MSG_GETCHAIN, request)
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
func (k *kernel) chainUses(name string) (n uint32, err error) {
	request := append(stringAttribute(unix.NFTA_CHAIN_TABLE, tableName), stringAttribute(unix.NFTA_CHAIN_NAME, name)...)
	answer, err := k.query(unix.NFT_MSG_GETCHAIN, request)
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

func (k *kernel) set(name string) (s kernelSet, err error) {
	request := append(stringAttribute(unix.NFTA_SET_TABLE, tableName), stringAttribute(unix.NFTA_SET_NAME, name)...)
	answer, err := k.query(unix.NFT_MSG_GETSET, request)
	for _, m := range answer {
		s = decodeSet(fields(body(m.Data)))
	}
	return s, err
}

// sets lists the sets and maps of the table, anonymous ones, too.
func (k *kernel) sets() (list []kernelSet, err error) {
	request := stringAttribute(unix.NFTA_SET_TABLE, tableName)
	err = k.dump(unix.NFT_MSG_GETSET, unix.NFT_MSG_NEWSET, request, func() { list = nil }, func(m []byte) {
		list = append(list, decodeSet(fields(m)))
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
	if s.dataType == unix.NFT_DATA_VERDICT {
		s.dataLen = 0 // the size of the kernel's own struct
	}
	var names []string
	if e, one := f[nftaSetExpr]; one {
		names = append(names, fields(e).text(unix.NFTA_EXPR_NAME))
	}
	attributes(f[nftaSetExpressions], func(_ uint16, e []byte) {
		names = append(names, fields(e).text(unix.NFTA_EXPR_NAME))
	})
	s.exprs = strings.Join(names, " ")
	return s
}
