package servers

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"portmap/rules"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// socket is a TCP socket that listens, or a UDP socket that is bound and not connected.
type socket struct {
	protocol rules.Protocols
	local    netip.AddrPort // an unspecified address answers for every one of its family
	v6only   bool
	uid      uint32
	inode    uint32

	waiting, mostWaiting uint32 // of TCP: connections that the server has not accepted yet; its backlog, listen(2)
}

// Socket states (include/net/tcp_states.h). An unconnected UDP socket is in TCP_CLOSE.
const (
	stateClose  = 7
	stateListen = 10
)

// Lengths of the kernel's messages (linux/inet_diag.h, inet_diag_req_v2 and inet_diag_msg).
const (
	requestLength = 56
	messageLength = 72
)

const interruptions = 20

// listening returns the sockets of the protocols. It needs no privilege.
func listening(protocols rules.Protocols) ([]socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var all []socket
	for _, protocol := range protocols.Each() {
		for _, family := range [...]uint8{unix.AF_INET, unix.AF_INET6} {
			found, err := list(conn, protocol, family)
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// request asks for the sockets in one state, so that a host's many open connections are not listed.
func request(protocol rules.Protocols, family uint8) netlink.Message {
	body := make([]byte, requestLength)
	body[0], body[1] = family, protocol.Number()
	state := uint32(1 << stateListen)
	if protocol == rules.UDP {
		state = 1 << stateClose
	}
	binary.NativeEndian.PutUint32(body[4:], state)
	return netlink.Message{
		Header: netlink.Header{Type: nl.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request | netlink.Dump},
		Data:   body,
	}
}

func list(conn *netlink.Conn, protocol rules.Protocols, family uint8) (found []socket, err error) {
	for range interruptions {
		answer, err := conn.Execute(request(protocol, family))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return nil, nil // IPv6, or the protocol's diagnosis, is not in this kernel
		}
		interrupted := errors.Is(err, unix.EINTR)
		found = nil
		for _, m := range answer {
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			if s, ok := decode(m.Data, protocol); ok {
				found = append(found, s)
			}
		}
		if !interrupted {
			return found, err
		}
	}
	return found, nil // servers come and go faster than they are listed: a moment's view, as ever
}

func decode(m []byte, protocol rules.Protocols) (s socket, ok bool) {
	if len(m) < messageLength {
		return s, false
	}
	var addr netip.Addr
	if m[0] == unix.AF_INET {
		addr = netip.AddrFrom4([4]byte(m[8:12]))
	} else {
		addr = netip.AddrFrom16([16]byte(m[8:24]))
	}
	s = socket{
		protocol: protocol,
		local:    netip.AddrPortFrom(addr, binary.BigEndian.Uint16(m[4:])),
		uid:      binary.NativeEndian.Uint32(m[64:]),
		inode:    binary.NativeEndian.Uint32(m[68:]),

		waiting: binary.NativeEndian.Uint32(m[56:]), mostWaiting: binary.NativeEndian.Uint32(m[60:]),
	}
	for rest := m[messageLength:]; len(rest) >= unix.SizeofNlAttr; {
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofNlAttr || length > len(rest) {
			break
		}
		if binary.NativeEndian.Uint16(rest[2:]) == vnetlink.INET_DIAG_SKV6ONLY && length > unix.SizeofNlAttr {
			s.v6only = rest[unix.SizeofNlAttr] != 0
		}
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return s, s.local.Port() != 0
}

// answers reports whether a packet to addr reaches the socket. The zero Addr stands for some address of families.
func (s socket) answers(addr netip.Addr, families rules.Families) bool {
	local := s.local.Addr()
	if !addr.IsValid() {
		return s.families()&families != 0
	}
	if local.IsUnspecified() {
		return s.families().Has(rules.FamilyOf(addr))
	}
	return local.Unmap() == addr
}

func (s socket) loopback() bool { return s.local.Addr().Unmap().IsLoopback() }

// families returns which packets can reach the socket: one on [::] has IPv4's as well, unless it is IPV6_V6ONLY
// (ipv6(7)).
func (s socket) families() rules.Families {
	switch local := s.local.Addr(); {
	case local.Unmap().Is4():
		return rules.IPv4
	case local.IsUnspecified() && !s.v6only:
		return rules.BothFamilies
	}
	return rules.IPv6
}
