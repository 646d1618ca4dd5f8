package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"portmap/rules"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The kernel refuses an element whose key is taken. It does not see that a packet matches a mapping in another
// map, or in a rule. What the caller knows of does not overlap, which rules.Set sees to; what is live and in no
// file may. So a small change asks for what is live near its ports. The cost has bounds: it does not grow with
// the number of live mappings. A large change is not checked.
const (
	keysAtMost = 256  // keys that a map is asked for one by one; of more, its first elements are read
	readAtMost = 1000 // elements of one map, or rules, that are read; what lies behind them is not seen
)

// refuseOverlap answers [rules.ErrDrift] where a mapping to be added overlaps a live one that stays.
func (b *Backend) refuseOverlap(change rules.Change) error {
	if len(change.Add) == 0 || len(change.Add) >= recountFrom {
		return nil
	}
	near := labels{}
	for _, p := range maps() {
		if err := b.elementsNear(p, change.Add, near); err != nil {
			return err
		}
	}
	if err := b.rulesNear(near); err != nil {
		return err
	}
	for i := range change.Remove {
		delete(near, label(&change.Remove[i]))
	}
	for i := range change.Add {
		delete(near, label(&change.Add[i]))
	}
	live, err := b.mappingsOf(near)
	if err != nil {
		return err
	}
	for _, l := range live {
		for _, m := range change.Add {
			if overlaps(m, l) {
				return fmt.Errorf("%w (%s is live)", rules.ErrDrift, l)
			}
		}
	}
	return nil
}

func overlaps(a, b rules.Mapping) bool {
	if a.Name() != "" && a.Name() == b.Name() {
		return true
	}
	return a.ListenPorts().Overlaps(b.ListenPorts()) && a.SharesClients(b)
}

// labels are the comments of mappings.
type labels map[string]bool

// elementsNear notes the labels of elements that can overlap one of the mappings.
func (b *Backend) elementsNear(p portMap, mappings []rules.Mapping, near labels) error {
	keys, all := keysIn(p, mappings)
	if all || len(keys) > keysAtMost {
		return b.firstElements(p.name, near)
	}
	for _, key := range keys {
		e, err := b.elementAt(p.name, key)
		switch {
		case isAbsent(err):
		case err != nil:
			return err
		default:
			near[string(e.comment)] = true
		}
	}
	return nil
}

// keysIn returns the keys that overlapping elements of a map have; all where those of any address do, or any
// with the same name.
func keysIn(p portMap, mappings []rules.Mapping) (keys [][]byte, all bool) {
	for i := range mappings {
		m := &mappings[i]
		if m.Name() != "" {
			return nil, true
		}
		if m.Families()&p.families == 0 {
			continue
		}
		listen := m.Listen()
		switch {
		case !p.address:
			listen = netip.Addr{}
		case !listen.IsValid():
			return nil, true
		}
		for _, protocol := range m.Protocols().Each() {
			ports := m.ListenPorts()
			for i := 0; i < ports.Count() && len(keys) <= keysAtMost; i++ {
				keys = append(keys, elementKey(listen, protocol, ports.First+uint16(i)))
			}
		}
	}
	return keys, false
}

// elementAt returns the element with a key. The error is ENOENT where the map has none.
func (b *Backend) elementAt(set string, key []byte) (e element, err error) {
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
	answer, err := b.query(unix.NFT_MSG_GETSETELEM, 0, attributes)
	for _, m := range answer {
		eachElement(m.Data, func(encoded []byte) { e = decodeElement(encoded) })
	}
	return e, err
}

// firstElements notes the labels of a map's first elements. It has a socket of its own, and closes it without
// reading the rest.
func (b *Backend) firstElements(set string, near labels) error {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		return err
	}
	request := nl.NewNetlinkRequest(subsystem|unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP)
	request.AddRawData(elementsRequest(set))
	if err := s.Send(request); err != nil {
		return err
	}
	for count := 0; count < readAtMost; {
		messages, _, err := s.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			}
			eachElement(m.Data, func(encoded []byte) {
				near[string(decodeElement(encoded).comment)] = true
				count++
			})
		}
	}
	return nil
}

// rulesNear notes the labels of mappings with --source or --interface.
func (b *Backend) rulesNear(near labels) error {
	const withoutAny = mapCount + 3 // a lookup in each map, and the jumps that lead there: see skeleton
	uses, err := b.chainUses(chainMapped)
	if err != nil || uses <= withoutAny || uses > readAtMost {
		return err
	}
	list, err := b.rules(chainMapped)
	for _, k := range list {
		near[k.comment] = true
	}
	return err
}

// mappingsOf returns the mappings that labels stand for. Those that stand for none are passed over: Live tells of them.
func (b *Backend) mappingsOf(list labels) (mappings []rules.Mapping, err error) {
	r, parser := reading{}, rules.Parser{}
	for comment := range list {
		if strings.HasPrefix(comment, "~") && r.texts == nil {
			texts, err := b.rules(chainTexts)
			if err != nil {
				return nil, err
			}
			r.joinTexts(texts)
		}
		text := comment
		if strings.HasPrefix(comment, "~") {
			text = r.texts[comment]
		}
		if m, err := parser.Parse(text); err == nil {
			mappings = append(mappings, m)
		}
	}
	return mappings, nil
}
