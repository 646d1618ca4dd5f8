package flows

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// network implements host with this host's addresses and routes. It asks the kernel once for each address.
type network struct {
	owners   map[netip.Addr][]int // the interfaces that have an address; nil before the first request
	names    map[int]string       // of interfaces
	local    map[netip.Addr]bool
	arrivals map[[2]netip.Addr]string // by source and destination; or unknown
}

// isLocal checks the addresses of all interfaces, since one in a VRF is not local in the main routing table. It also
// checks that table, since a whole network can be local there (ip-route(8), type local). If the lookup fails, the
// address is not local.
func (n *network) isLocal(addr netip.Addr) bool {
	n.read()
	if len(n.owners[addr]) > 0 {
		return true
	}
	local, asked := n.local[addr]
	if !asked {
		routes, err := netlink.RouteGet(addr.AsSlice())
		local = err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
		n.local[addr] = local
	}
	return local
}

// unknown stands for an unknown interface. No interface can have this name (dev_valid_name in net/core/dev.c).
const unknown = "/"

// arrival finds the interface, which connection tracking does not record. A flow arrives on the interface that has its
// destination address, if replies leave by that interface too. If the two differ, as with two interfaces and one
// default route, it can be either.
func (n *network) arrival(source, destination netip.Addr) (iface string, known bool) {
	if n.isLocal(source) {
		return "", true
	}
	way := [2]netip.Addr{source, destination}
	iface, asked := n.arrivals[way]
	if !asked {
		iface = n.findArrival(source, destination)
		n.arrivals[way] = iface
	}
	return iface, iface != unknown
}

func (n *network) findArrival(source, destination netip.Addr) string {
	owners := n.owners[destination]
	if len(owners) != 1 {
		return unknown
	}
	back := &netlink.RouteGetOptions{SrcAddr: destination.AsSlice()}
	routes, err := netlink.RouteGetWithOptions(source.AsSlice(), back)
	if err != nil || len(routes) != 1 || routes[0].LinkIndex != owners[0] {
		return unknown
	}
	if name, ok := n.names[owners[0]]; ok {
		return name
	}
	return unknown
}

// read reads the addresses and the names of the interfaces. Errors leave them unknown.
func (n *network) read() {
	if n.owners != nil {
		return
	}
	*n = network{map[netip.Addr][]int{}, map[int]string{}, map[netip.Addr]bool{}, map[[2]netip.Addr]string{}}
	addresses, _ := netlink.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range addresses {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			n.owners[addr.Unmap()] = append(n.owners[addr.Unmap()], a.LinkIndex)
		}
	}
	links, _ := netlink.LinkList()
	for _, l := range links {
		n.names[l.Attrs().Index] = l.Attrs().Name
	}
}
