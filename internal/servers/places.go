package servers

import (
	"net"
	"net/netip"

	"portmap/rules"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Place is an address at which a mapping can be reached, and who answers there; nobody if no server listens for it yet.
type Place struct {
	Address netip.Addr
	Servers []Server
}

// Places returns the addresses at which clients reach a mapping to this host now: the one it names, else those that
// interfaces have for other hosts, else those of loopback.
func (f *Found) Places(m rules.Mapping) (places []Place) {
	if f.byPort == nil || len(targetsHere(&m)) == 0 {
		return nil
	}
	if f.who == nil {
		f.Name()
	}
	for _, address := range placesOf(m) {
		servers := f.list(func(visit func(socket)) {
			for _, t := range targetsHere(&m) {
				f.eachAt(&m, t.Addr, t.Ports, func(s socket) {
					if t.Addr.IsLoopback() || s.answers(address, 0) {
						visit(s)
					}
				})
			}
		})
		places = append(places, Place{address, servers})
	}
	return places
}

func placesOf(m rules.Mapping) (list []netip.Addr) {
	if listen := m.Listen(); listen.IsValid() {
		if listen.IsLoopback() || isOwn(listen) {
			return []netip.Addr{listen}
		}
		return nil
	}
	var local []netip.Addr
	for address, loopback := range usable(m.Interface()) {
		switch {
		case !m.Families().Has(rules.FamilyOf(address)):
		case loopback:
			local = append(local, address)
		default:
			list = append(list, address)
		}
	}
	if len(list) == 0 {
		return local
	}
	return list
}

// fleeting are addresses that clients should not learn: they change, or are not in use (linux/if_addr.h).
const fleeting = unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// usable yields the addresses of interfaces that are up, of one with a name or of all, and whether each is of loopback.
// Those that hold within a link only are none: they are of no use without the name of an interface.
func usable(name string) func(yield func(address netip.Addr, loopback bool) bool) {
	return func(yield func(netip.Addr, bool) bool) {
		links, err := vnetlink.LinkList()
		if err != nil {
			return
		}
		for _, link := range links {
			if link.Attrs().Flags&net.FlagUp == 0 || name != "" && link.Attrs().Name != name {
				continue
			}
			all, _ := vnetlink.AddrList(link, vnetlink.FAMILY_ALL)
			for _, a := range all {
				address, ok := netip.AddrFromSlice(a.IP)
				if address = address.Unmap(); !ok || a.Flags&fleeting != 0 || address.IsLinkLocalUnicast() {
					continue
				}
				if !yield(address, address.IsLoopback()) {
					return
				}
			}
		}
	}
}
