package nft

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// element is one element of a map or set.
type element struct {
	key     []byte
	end     bool   // of an interval set: the run that began before it ends here
	data    []byte // of a map
	comment []byte
	packets uint64
}

// elements lists a map or set. It calls begin before each reading: there may be several. each gets the input of
// decodeElement.
func (k *kernel) elements(set string, begin func(), each func(encoded []byte)) error {
	return k.dump(unix.NFT_MSG_GETSETELEM, unix.NFT_MSG_NEWSETELEM, elementsRequest(set), begin, func(m []byte) {
		eachElement(m, each)
	})
}

func elementsRequest(set string) []byte {
	return append(stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName),
		stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, set)...)
}

// eachElement takes a message with elements apart, without its nfgenmsg.
func eachElement(message []byte, each func(encoded []byte)) {
	attributes(message, func(kind uint16, list []byte) {
		if kind == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			attributes(list, func(_ uint16, e []byte) { each(e) })
		}
	})
}

// elementsOf lists a set or map that is small, or of which all is wanted.
func (k *kernel) elementsOf(set string) (found []element, err error) {
	err = k.elements(set, func() { found = found[:0] }, func(e []byte) {
		if len(found) == cap(found) {
			found = slices.Grow(found, 3*len(found)) // by a quarter, as append does, most of the time goes into copies
		}
		found = append(found, decodeElement(e))
	})
	return found, err
}

// chainOf returns the name of the chain to which a verdict goes; any other verdict as it is.
func chainOf(verdict []byte) []byte {
	v := fields(verdict)
	if int32(v.number(unix.NFTA_VERDICT_CODE)) == unix.NFT_GOTO {
		return []byte(v.text(unix.NFTA_VERDICT_CHAIN))
	}
	return verdict
}

func decodeElement(b []byte) (e element) {
	attributes(b, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			attributes(value, func(_ uint16, v []byte) { e.key = v })
		case unix.NFTA_SET_ELEM_DATA:
			attributes(value, func(kind uint16, v []byte) {
				if e.data = v; kind == unix.NFTA_DATA_VERDICT {
					e.data = chainOf(v)
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
