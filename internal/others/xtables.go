package others

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// iptables-nft writes what nf_tables has no expression for as extensions of x_tables: targets always, matches
// of ports before iptables 1.8.8.

func (d *decoder) xtMatch(e *expr.Match) {
	const invertDest = 2 // XT_ADDRTYPE_INVERT_DEST, linux/netfilter/xt_addrtype.h
	n := anyPacket()
	switch info := e.Info.(type) {
	case *xt.Comment:
	case *xt.AddrType:
		n.unread = info.Source != 0 || info.InvertDest || xt.AddrTypeFlags(info.Dest)&xt.AddrTypeLocal == 0
	case *xt.AddrTypeV1:
		n.unread = info.Source != 0 || info.Flags&invertDest != 0 ||
			xt.AddrTypeFlags(info.Dest)&xt.AddrTypeLocal == 0
	case *xt.Tcp:
		n.protocols = rules.TCP
		n.ports = xtPorts(info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0)
	case *xt.Udp:
		n.protocols = rules.UDP
		n.ports = xtPorts(info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.ConntrackMtinfo3:
		n = connectionMatch(info)
	case *xt.Unknown:
		n = unknownMatch(e.Name, *info)
	default:
		n.unread = true
	}
	n.limited = limits(e.Name)
	d.narrow(n)
}

// limits reports whether a match of iptables takes only so many packets or connections.
func limits(name string) bool {
	return slices.Contains([]string{"limit", "hashlimit", "connlimit", "recent", "quota", "statistic"}, name)
}

// connectionMatch reads what asks for translated connections, and for their first destination port
// (linux/netfilter/xt_conntrack.h).
func connectionMatch(info *xt.ConntrackMtinfo3) match {
	const stateNew, stateDNAT = 1 << 3, 1 << 7 // XT_CONNTRACK_STATE_BIT(IP_CT_NEW), XT_CONNTRACK_STATE_DNAT
	n := anyPacket()
	flags := xt.ConntrackFlags(info.MatchFlags)
	if flags&xt.ConntrackState != 0 && info.StateMask&(stateDNAT|stateNew) == stateDNAT {
		n.translated = true
		flags &^= xt.ConntrackState
	}
	if flags&xt.ConntrackOrigDstPort != 0 {
		n.original = []rules.Ports{{First: info.OrigDstPort, Last: max(info.OrigDstPort, info.OrigDstPortHigh)}}
		flags &^= xt.ConntrackOrigDstPort
	}
	n.unread = info.InvertFlags != 0 || flags&^xt.ConntrackStateAlias != 0
	return n
}

func xtPorts(ports [2]uint16, inverted bool) []rules.Ports {
	asked := rules.Ports{First: ports[0], Last: ports[1]}
	switch {
	case inverted:
		return except(asked)
	case asked == rules.Ports{First: 0, Last: 65535}:
		return nil
	}
	return []rules.Ports{asked}
}

// unknownMatch reads struct xt_multiport_v1 (linux/netfilter/xt_multiport.h): which ports are meant, how many
// there are, 15 ports, for each whether it begins a range, and whether all is inverted.
func unknownMatch(name string, info []byte) match {
	const destination, most = 1, 15
	n := anyPacket()
	if name == "comment" {
		return n
	}
	if name != "multiport" || len(info) < 2+3*most+1 || info[0] != destination || info[2+3*most] != 0 ||
		info[1] > most {
		n.unread = true
		return n
	}
	count := int(info[1])
	for i := 0; i < count; i++ {
		ports := rules.Ports{First: binary.NativeEndian.Uint16(info[2+2*i:])}
		ports.Last = ports.First
		if begins := info[2+2*most+i] != 0; begins && i+1 < count {
			i++
			ports.Last = binary.NativeEndian.Uint16(info[2+2*i:])
		}
		n.ports = append(n.ports, ports)
	}
	return n
}

func (d *decoder) xtTarget(e *expr.Target) {
	switch e.Name {
	case "DNAT":
		d.act(translate, "dnat"+xtDestination(e.Info))
	case "REDIRECT":
		d.act(translate, "redirect"+xtDestination(e.Info))
	case "NOTRACK":
		d.act(untrack, "notrack")
	case "REJECT":
		d.act(drop, "reject")
	case "CT":
		const notrack = 1 // XT_CT_NOTRACK, linux/netfilter/xt_CT.h: the first bit of the first field
		if info, ok := e.Info.(*xt.Unknown); ok && len(*info) >= 2 && binary.NativeEndian.Uint16(*info)&notrack != 0 {
			d.act(untrack, "notrack")
		}
	}
}

func xtDestination(info xt.InfoAny) string {
	var r xt.NatRange
	switch info := info.(type) {
	case *xt.NatIPv4MultiRangeCompat:
		if len(*info) > 0 {
			one := (*info)[0]
			r = xt.NatRange{Flags: one.Flags, MinIP: one.MinIP, MinPort: one.MinPort, MaxPort: one.MaxPort}
		}
	case *xt.NatRange:
		r = *info
	case *xt.NatRange2:
		r = info.NatRange
	}
	var addr netip.Addr
	var ports rules.Ports
	if xt.NatRangeFlags(r.Flags)&xt.NatRangeMapIPs != 0 {
		addr = addrOf(r.MinIP)
	}
	if xt.NatRangeFlags(r.Flags)&xt.NatRangeProtoSpecified != 0 {
		ports = rules.Ports{First: r.MinPort, Last: r.MaxPort}
	}
	return destinationText(addr, ports)
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
