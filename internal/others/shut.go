package others

import (
	"context"
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Shut knows the rules that stop what comes in on one interface, and so not the packets of a probe, which has one of
// its own.
type Shut struct {
	way     way
	uplinks map[rules.Families][]string
}

// LookShut reads the rules. It needs CAP_NET_ADMIN.
func LookShut(ctx context.Context) (Shut, error) {
	w, err := lookWay(ctx)
	return Shut{w, map[rules.Families][]string{rules.IPv4: Uplinks(rules.IPv4), rules.IPv6: Uplinks(rules.IPv6)}}, err
}

// Rule returns the rule that stops clients of a mapping who come in on the interface of its listen address, or by which
// a default route leads, and the name of that interface. A rule before it that accepts, and may have them, counts for
// all.
func (s *Shut) Rule(m *rules.Mapping, family rules.Families, protocol rules.Protocols) (r *Rule, iface string) {
	names := s.uplinks[family]
	if m.Listen().IsValid() {
		names = linksOf(m.Listen())
	}
	for _, iface := range names {
		p := packet{family: family, protocol: protocol, iface: iface, port: m.ListenPorts().First,
			listen: m.ListenPorts().First}
		if r := s.way.shuts(p, m); r != nil {
			return r, iface
		}
	}
	return nil, ""
}

// shuts returns the rule that stops the client's packet on its way to a server of the mapping for where it comes in.
func (w way) shuts(p packet, m *rules.Mapping) *Rule {
	mapped, hook := p.mapped(m)
	for i := range w {
		h := &w[i]
		met := mapped
		if h.early {
			met = p
		}
		if h.hook != unix.NF_INET_PRE_ROUTING && h.hook != hook {
			continue
		}
		if r := h.shuts(met); r != nil {
			return r
		}
	}
	return nil
}

func (h *hop) shuts(p packet) *Rule {
	for i := range h.ends {
		r := &h.ends[i]
		possible, certain := r.match.takes(p)
		names := r.match.ports != nil || r.match.original != nil || r.match.translated
		switch {
		case r.action == accept && (certain || possible && names):
			return nil
		case r.action == drop && certain && r.match.iface != "":
			return r
		case r.action == drop && certain: // which the probe meets, too
			return nil
		}
	}
	return nil
}

// mapped returns the packet behind NAT, and the hook at which it comes to the server.
func (p packet) mapped(m *rules.Mapping) (packet, uint32) {
	hook := uint32(unix.NF_INET_LOCAL_IN)
	first := p.port
	p.translated = true
	for _, t := range facts.TargetsIn(m, p.family) {
		p.port = t.Ports.First + first - m.ListenPorts().First
		if t.Remote() {
			hook = unix.NF_INET_FORWARD
		}
	}
	return p, hook
}

// Uplinks returns the names of the interfaces by which a default route leads.
func Uplinks(family rules.Families) (names []string) {
	number := map[rules.Families]int{rules.IPv4: unix.AF_INET, rules.IPv6: unix.AF_INET6}[family]
	routes, _ := vnetlink.RouteListFiltered(number, &vnetlink.Route{}, vnetlink.RT_FILTER_DST)
	for _, r := range routes {
		names = appendName(names, r.LinkIndex)
	}
	return names
}

// linksOf returns the names of the interfaces that have an address.
func linksOf(address netip.Addr) (names []string) {
	all, _ := vnetlink.AddrList(nil, vnetlink.FAMILY_ALL)
	for _, a := range all {
		if own, ok := netip.AddrFromSlice(a.IP); ok && own.Unmap() == address {
			names = appendName(names, a.LinkIndex)
		}
	}
	return names
}

func appendName(names []string, index int) []string {
	link, err := vnetlink.LinkByIndex(index)
	if err != nil || slices.Contains(names, link.Attrs().Name) {
		return names
	}
	return append(names, link.Attrs().Name)
}
