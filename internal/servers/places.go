package servers

import (
	"iter"
	"net"
	"net/netip"

	"portmap/rules"
	"portmap/rules/facts"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Place is an address at which a mapping can be reached, and who answers there: servers of this host, if one listens
// for it yet, or targets on other hosts.
type Place struct {
	Address   netip.Addr
	Interface string // which has the address; "" for one that the mapping names
	Servers   []Server
	Remote    []netip.AddrPort // the first one of each range
}

// Places returns the addresses at which clients reach a mapping now: the one it names, else those that interfaces have
// for other hosts, else those of loopback.
func (f *Found) Places(m rules.Mapping) (places []Place) {
	if f.byPort == nil {
		return nil
	}
	if f.who == nil {
		f.ResolveProcesses()
	}
	places = placesOf(m)
	for i := range places {
		p := &places[i]
		p.Servers, p.Remote = f.serversAt(&m, p.Address), remoteAt(m, p.Address)
	}
	return places
}

// serversAt returns the servers of this host that clients find at an address.
func (f *Found) serversAt(m *rules.Mapping, address netip.Addr) []Server {
	return f.list(func(visit func(socket)) {
		for _, t := range targetsHere(m) {
			f.eachAt(m, t.Addr, t.Ports, func(s socket) {
				if t.Addr.IsLoopback() || s.answers(address, 0) {
					visit(s)
				}
			})
		}
	})
}

// remoteAt returns the targets on other hosts to which clients come from an address.
func remoteAt(m rules.Mapping, address netip.Addr) (list []netip.AddrPort) {
	for _, t := range facts.TargetsIn(&m, rules.FamilyOf(address)) {
		if t.Remote() {
			list = append(list, netip.AddrPortFrom(t.Addr, t.Ports.First))
		}
	}
	return list
}

func placesOf(m rules.Mapping) (list []Place) {
	if listen := m.Listen(); listen.IsValid() {
		if listen.IsLoopback() || isOwn(listen) {
			return []Place{{Address: listen}}
		}
		return nil
	}
	var local []Place
	for address, name := range usable(m.Interface()) {
		place := Place{Address: address, Interface: name}
		switch {
		case !m.Families().Has(rules.FamilyOf(address)):
		case address.IsLoopback():
			local = append(local, place)
		default:
			list = append(list, place)
		}
	}
	if len(list) == 0 && facts.RemoteFamilies(&m) == 0 { // from a loopback address no packet reaches another host
		return local
	}
	return list
}

// fleeting are addresses of IPv6 that clients should not learn: they change, or are not in use (linux/if_addr.h). With
// IPv4, the flag of a temporary address is that of a second one in a network.
const fleeting = unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// usable yields the addresses of interfaces that are up, of one with a name or of all, and the name of each one's.
// Those that hold within a link only are none: they are of no use without the name of an interface.
func usable(name string) iter.Seq2[netip.Addr, string] {
	return func(yield func(netip.Addr, string) bool) {
		links, err := vnetlink.LinkList()
		all, _ := vnetlink.AddrList(nil, vnetlink.FAMILY_ALL) // of one link alone, too, the kernel lists all
		if err != nil {
			return
		}
		for _, link := range links {
			if link.Attrs().Flags&net.FlagUp == 0 || name != "" && link.Attrs().Name != name {
				continue
			}
			for _, a := range all {
				address, ok := netip.AddrFromSlice(a.IP)
				address = address.Unmap()
				if !ok || a.LinkIndex != link.Attrs().Index || address.Is6() && a.Flags&fleeting != 0 ||
					address.IsLinkLocalUnicast() {
					continue
				}
				if !yield(address, link.Attrs().Name) {
					return
				}
			}
		}
	}
}
