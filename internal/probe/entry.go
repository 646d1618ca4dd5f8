package probe

import (
	"errors"
	"net/netip"

	"portmap/internal/attribute"
	"portmap/rules"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Entry is what connection tracking of this host knows of a question.
type Entry struct {
	Found      bool
	Translated bool           // its destination was changed
	To         netip.AddrPort // where its packets went in the end
}

// Requests of ctnetlink, and attributes of an entry (linux/netfilter/nfnetlink_conntrack.h).
const (
	conntrackSubsystem = 1 << 8
	conntrackGet       = 1 // IPCTNL_MSG_CT_GET
	conntrackDelete    = 2 // IPCTNL_MSG_CT_DELETE

	tupleOriginal = 1 // CTA_TUPLE_ORIG
	tupleReply    = 2 // CTA_TUPLE_REPLY
	tupleIP       = 1 // CTA_TUPLE_IP
	tupleProto    = 2 // CTA_TUPLE_PROTO
	source4       = 1 // CTA_IP_V4_SRC
	destination4  = 2 // CTA_IP_V4_DST
	source6       = 3 // CTA_IP_V6_SRC
	destination6  = 4 // CTA_IP_V6_DST
	protoNumber   = 1 // CTA_PROTO_NUM
	sourcePort    = 2 // CTA_PROTO_SRC_PORT
	targetPort    = 3 // CTA_PROTO_DST_PORT
)

// ErrNoConntrack says that nobody knows where a packet went.
var ErrNoConntrack = errors.New("this kernel does not report its connections; to have that: " +
	"sudo modprobe nf_conntrack_netlink")

// Ready returns nil, or why Entries would fail.
func Ready() error {
	nobody := netip.AddrPortFrom(netip.IPv4Unspecified(), 1)
	_, err := Entries([]Answer{{Question: Question{Protocol: rules.TCP, To: nobody}, From: nobody}})
	return err
}

// Entries returns what connection tracking knows of the questions that were answered so, and deletes it: an entry would
// stay for two minutes. It needs CAP_NET_ADMIN. The error can be ErrNoConntrack.
func Entries(answers []Answer) ([]Entry, error) {
	entries, err := entriesOf(answers)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) { // see nfnetlink_rcv_msg, netlink_create
		err = ErrNoConntrack
	}
	return entries, err
}

func entriesOf(answers []Answer) ([]Entry, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	entries := make([]Entry, len(answers))
	for i, a := range answers {
		if !a.From.IsValid() {
			continue
		}
		if entries[i], err = entryOf(conn, a); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func entryOf(conn *netlink.Conn, a Answer) (e Entry, err error) {
	messages, err := conntrack(conn, conntrackGet, a)
	if errors.Is(err, unix.ENOENT) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	for _, m := range messages {
		if len(m.Data) < 4 {
			continue
		}
		asked, to := netip.AddrPort{}, netip.AddrPort{}
		attribute.Each(m.Data[4:], func(kind uint16, value []byte) {
			switch kind {
			case tupleOriginal:
				asked = sourceOf(value)
			case tupleReply:
				to = sourceOf(value)
			}
		})
		if asked == a.From { // else an answer made the entry, since what was asked is not tracked
			e = Entry{Found: true, Translated: to != a.To, To: to}
		}
	}
	_, err = conntrack(conn, conntrackDelete, a)
	if errors.Is(err, unix.ENOENT) { // its time was over
		err = nil
	}
	return e, err
}

func conntrack(conn *netlink.Conn, request uint16, a Answer) ([]netlink.Message, error) {
	family := byte(unix.AF_INET)
	if a.To.Addr().Is6() {
		family = unix.AF_INET6
	}
	return conn.Execute(netlink.Message{
		// The kernel marks an entry as one of several (ctnetlink_fill_info): the acknowledgement says that it was all.
		Header: netlink.Header{Type: netlink.HeaderType(conntrackSubsystem | request),
			Flags: netlink.Request | netlink.Acknowledge},
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, tupleOf(a)...), // struct nfgenmsg
	})
}

func tupleOf(a Answer) []byte {
	number := byte(unix.IPPROTO_TCP)
	if a.Protocol == rules.UDP {
		number = unix.IPPROTO_UDP
	}
	source, destination := uint16(source4), uint16(destination4)
	if a.To.Addr().Is6() {
		source, destination = source6, destination6
	}
	tuple := nl.NewRtAttr(tupleOriginal|unix.NLA_F_NESTED, nil)
	ip := tuple.AddRtAttr(tupleIP|unix.NLA_F_NESTED, nil)
	ip.AddRtAttr(int(source), a.From.Addr().AsSlice())
	ip.AddRtAttr(int(destination), a.To.Addr().AsSlice())
	proto := tuple.AddRtAttr(tupleProto|unix.NLA_F_NESTED, nil)
	proto.AddRtAttr(protoNumber, []byte{number})
	proto.AddRtAttr(sourcePort, nl.BEUint16Attr(a.From.Port()))
	proto.AddRtAttr(targetPort, nl.BEUint16Attr(a.To.Port()))
	return tuple.Serialize()
}

// sourceOf returns from where the packets of a tuple come.
func sourceOf(tuple []byte) netip.AddrPort {
	var address netip.Addr
	var port uint16
	attribute.Each(tuple, func(kind uint16, part []byte) {
		attribute.Each(part, func(inner uint16, value []byte) {
			switch {
			case kind == tupleIP && (inner == source4 || inner == source6):
				address, _ = netip.AddrFromSlice(value)
			case kind == tupleProto && inner == sourcePort && len(value) == 2:
				port = uint16(value[0])<<8 | uint16(value[1])
			}
		})
	})
	return netip.AddrPortFrom(address, port)
}
