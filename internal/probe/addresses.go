package probe

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Networks for measurements between two systems, which lead nowhere in the Internet (RFC 2544, C.2.2, and RFC 5180, 8).
const (
	measuring4 = "198.18.0.0/15"
	measuring6 = "2001:2::/48"
)

// attempts is how many addresses are tried.
const attempts = 100

// unused returns an address of the same family as another that this host does not use: no interface has it, and only a
// route to everywhere leads there.
func unused(like netip.Addr) (netip.Addr, error) {
	within, family := netip.MustParsePrefix(measuring6), netlink.FAMILY_V6
	if like.Is4() {
		within, family = netip.MustParsePrefix(measuring4), netlink.FAMILY_V4
	}
	used, err := usedNetworks(family)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the routes: %w", err)
	}
	for range attempts {
		address := someAddress(within)
		if !slices.ContainsFunc(used, func(u netip.Prefix) bool { return u.Contains(address) }) {
			return address, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("this host uses all of %s", within)
}

// usedNetworks returns the networks to which routes of any table lead, local ones and those of interfaces among them. A
// route that drops packets leads nowhere: hosts have them for addresses that nobody should use.
func usedNetworks(family int) (used []netip.Prefix, err error) {
	// every table, unlike RouteList
	routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC},
		netlink.RT_FILTER_TABLE)
	for _, r := range routes {
		drops := r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT
		if r.Dst == nil || drops {
			continue
		}
		address, ok := netip.AddrFromSlice(r.Dst.IP)
		if ones, _ := r.Dst.Mask.Size(); ok && ones > 1 { // 0.0.0.0/1 is a way of VPNs to say everywhere
			used = append(used, netip.PrefixFrom(address.Unmap(), ones))
		}
	}
	return used, err
}

// someAddress returns one of the addresses of a network by chance, neither the first nor the last one.
func someAddress(within netip.Prefix) netip.Addr {
	bytes := within.Addr().AsSlice()
	var chance [16]byte
	_, _ = rand.Read(chance[:]) // which never fails
	for bit := within.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= chance[bit/8] & (0x80 >> (bit % 8))
	}
	bytes[len(bytes)-1] = bytes[len(bytes)-1]&^1 | 2
	address, _ := netip.AddrFromSlice(bytes)
	return address
}
