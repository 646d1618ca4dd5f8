package check

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"portmap/internal/finding"
	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// strict is the rp_filter that drops a packet whose answer would not leave on the interface on which it came
// (Documentation/networking/ip-sysctl.rst). Of an interface's value and that of all, the higher one counts.
const strict = 1

// reversePath tells of interfaces on which the kernel drops clients from outside, since it would answer them on
// another one. It asks the kernel itself, and only where it has dropped such packets already: that an interface to a
// private network does not take clients from outside is as it should be.
func reversePath(k kernel, mappings []rules.Mapping) (advice []finding.Finding) {
	dropped := k.counter("TcpExt", "IPReversePathFilter")
	if dropped == 0 {
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	all, _ := k.number("ipv4/conf/all/rp_filter")
	for _, link := range links {
		name := link.Attrs().Name
		setting := "ipv4/conf/" + name + "/rp_filter"
		own, known := k.number(setting)
		if !known || max(all, own) != strict {
			continue
		}
		for _, m := range mappings {
			local, client, drops := dropsClients(link, m)
			if !drops {
				continue
			}
			advice = append(advice, finding.Finding{
				ID: finding.ReversePath, Mapping: m,
				Text: fmt.Sprintf("the kernel drops clients from outside, such as %s, that come to %s on %s, since it "+
					"would answer them on another interface (rp_filter)", client, local, rules.Printable(name)),
				Seen: fmt.Sprintf("ip route get %s from %s iif %s fails; IPReversePathFilter = %d in "+
					"/proc/net/netstat", local, client, name, dropped),
				Remedy: sysctl(setting, "2"), Undo: sysctl(setting, strconv.Itoa(own)),
			})
			break
		}
	}
	return advice
}

// dropsClients reports whether clients of a mapping that come to an address of an interface are dropped there, while
// this host has a way to answer them.
func dropsClients(link netlink.Link, m rules.Mapping) (local, client netip.Addr, drops bool) {
	if !m.Families().Has(rules.IPv4) || m.Interface() != "" && m.Interface() != link.Attrs().Name {
		return local, client, false
	}
	if client = outside4(m); isNeighbour(client) {
		return local, client, false
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return local, client, false
	}
	for _, a := range addresses {
		local, _ = netip.AddrFromSlice(a.IP.To4())
		named := m.Interface() != "" || m.Listen() == local
		if !local.IsGlobalUnicast() || m.Listen().IsValid() && m.Listen() != local || local.IsPrivate() && !named {
			continue
		}
		_, err := netlink.RouteGetWithOptions(local.AsSlice(), &netlink.RouteGetOptions{
			Iif: link.Attrs().Name, SrcAddr: client.AsSlice()})
		// Linux 6.13 and later answer EINVAL for each packet that they would drop (net/ipv4/route.c,
		// inet_rtm_getroute).
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EINVAL) {
			continue
		}
		if back, err := netlink.RouteGet(client.AsSlice()); err == nil && len(back) > 0 &&
			back[0].LinkIndex != link.Attrs().Index {
			return local, client, true
		}
	}
	return local, client, false
}

// isNeighbour reports whether an address is in the network of an interface, and so not outside.
func isNeighbour(address netip.Addr) bool {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	return err != nil || slices.ContainsFunc(all, func(a netlink.Addr) bool { return a.Contains(address.AsSlice()) })
}

// outside4 returns an address that a client can have: of the mapping's sources, else one for documentation (RFC 5737),
// which no host has.
func outside4(m rules.Mapping) netip.Addr {
	for _, network := range m.Sources() {
		if address := network.Addr(); address.Is4() {
			if network.IsSingleIP() {
				return address
			}
			return address.Next()
		}
	}
	return netip.AddrFrom4([4]byte{198, 51, 100, 1})
}
