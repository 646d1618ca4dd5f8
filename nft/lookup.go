package nft

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// elementAt returns the element with a key. The error is ENOENT if the map has none.
func (k *kernel) elementAt(set string, key []byte) (e element, err error) {
	request := netlink.NewAttributeEncoder()
	request.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	request.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	request.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		list.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.Nested(unix.NFTA_SET_ELEM_KEY, func(k *netlink.AttributeEncoder) error {
				k.Bytes(unix.NFTA_DATA_VALUE, key)
				return nil
			})
			return nil
		})
		return nil
	})
	attributes, err := request.Encode()
	if err != nil {
		return e, err
	}
	answer, err := k.query(unix.NFT_MSG_GETSETELEM, attributes)
	for _, m := range answer {
		eachElement(body(m.Data), func(encoded []byte) { e = decodeElement(encoded) })
	}
	return e, err
}

// firstElements reads the first elements of a map, most of them or a few more, and reports whether these are all. It
// has a socket of its own, and closes it without reading the rest.
func (k *kernel) firstElements(set string, most int, each func(element)) (all bool, err error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		return false, err
	}
	request := nl.NewNetlinkRequest(subsystem|unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP)
	request.AddRawData(append(header(), elementsRequest(set)...))
	if err := s.Send(request); err != nil {
		return false, err
	}
	for count := 0; count < most; {
		messages, _, err := s.Receive()
		if err != nil {
			return false, err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return true, nil
			case unix.NLMSG_ERROR:
				return false, unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			}
			eachElement(body(m.Data), func(encoded []byte) {
				each(decodeElement(encoded))
				count++
			})
		}
	}
	return false, nil
}
