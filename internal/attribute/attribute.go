// Package attribute reads the attributes of netlink messages.
package attribute

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
)

// Each calls visit for every attribute in b. What does not hold together ends it.
func Each(b []byte, visit func(kind uint16, value []byte)) {
	d, err := netlink.NewAttributeDecoder(b)
	for err == nil && d.Next() {
		visit(d.Type(), d.Bytes())
	}
}

// Uint32 returns a number in the byte order of networks, as nfnetlink has it; 0 if it is none.
func Uint32(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(value)
}
