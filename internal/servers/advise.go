package servers

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Advise says, in a line each, what a person should know of mappings that were just added: that no server is there yet,
// that one answers this host alone, that a process listens on the listen port itself and will not get all new
// connections, that nothing can arrive where the host lacks the address or the interface.
func Advise(added []rules.Mapping, found Found) []string {
	if found.byPort == nil {
		return nil // it was not to be found out
	}
	if found.who == nil &&
		slices.ContainsFunc(added, func(m rules.Mapping) bool {
			return len(found.Shadowed(m)) > 0 || onlyLoopback(found.Of(m))
		}) {
		found.Name() // a walk over /proc, for when somebody has to be named
	}
	var lines []string
	for _, m := range added {
		lines = append(lines, absent(m)...)
		lines = append(lines, shadowed(m, found)...)
		if len(m.Targets()) == 0 {
			lines = append(lines, behind(m, found)...)
		}
	}
	return lines
}

// shadowed tells of servers that listen on the listen ports themselves.
func shadowed(m rules.Mapping, found Found) (lines []string) {
	found.eachShadowed(&m, func(s socket) {
		which, others := claimed(m, s)
		server := found.server(s)
		line := fmt.Sprintf("warning: %s listens on port %d itself, at %s; new connections%s go to port %d instead%s",
			server.Who(), server.Port, server.Address, which, m.TargetOf(server.Port), others)
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	})
	return lines
}

// claimed says which of a server's connections a mapping takes, and what becomes of the others, where it leaves some.
func claimed(m rules.Mapping, s socket) (which, others string) {
	if s.families()&^m.Families() != 0 && !m.Listen().IsValid() {
		which += " over " + m.Families().String()
	}
	if m.Listen().IsValid() && s.local.Addr().IsUnspecified() {
		which += " to " + m.Listen().String()
	}
	if sources := m.Sources(); len(sources) > 0 {
		which += " from " + few(sources)
	}
	if name := m.Interface(); name != "" {
		which += " that arrive on " + rules.Printable(name)
	}
	if which != "" {
		others = "; others stay with it"
	}
	return which, others
}

func few(networks []netip.Prefix) string {
	const most = 3
	var texts []string
	for _, n := range networks[:min(most, len(networks))] {
		texts = append(texts, n.String())
	}
	if more := len(networks) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// behind tells of a target where nobody answers.
func behind(m rules.Mapping, found Found) []string {
	servers := found.Of(m)
	switch {
	case len(servers) == 0 && looksSwapped(m) && len(found.Shadowed(m)) > 0:
		return []string{fmt.Sprintf(
			"no server listens on port %s/%s, and one on %s: the public port comes first; to swap them: sudo portmap "+
				"remove %s && sudo portmap add %s:%s/%s",
			m.TargetPorts(), m.Protocols(), m.ListenPorts(), m.ListenPorts(), m.TargetPorts(), m.ListenPorts(),
			m.Protocols())}
	case len(servers) == 0:
		return []string{fmt.Sprintf("no server listens on port %s/%s yet; connections are refused until one does",
			m.TargetPorts(), m.Protocols())}
	case onlyLoopback(servers) && !m.Listen().IsLoopback():
		return []string{
			fmt.Sprintf("warning: %s listens at %s, where other hosts do not reach it; make it listen on every address",
				servers[0].Who(), servers[0].Address)}
	}
	return nil
}

// privileged is below which ports need rights (ip(7), ip_unprivileged_port_start).
const privileged = 1024

func looksSwapped(m rules.Mapping) bool {
	return m.ListenPorts().Count() == 1 && m.ListenPorts().First >= privileged && m.TargetPorts().First < privileged
}

// absent tells what of a mapping this host does not have. Both can come later.
func absent(m rules.Mapping) (lines []string) {
	if listen := m.Listen(); listen.IsValid() && !listen.IsLoopback() && !isOwn(listen) {
		lines = append(lines,
			fmt.Sprintf("warning: no interface of this host has the address %s now; `ip address` shows them", listen))
	}
	if name := m.Interface(); name != "" {
		lines = append(lines, noInterface(name)...)
	}
	return lines
}

// noInterface tells of a name that no packet arrives by. The kernel finds an interface by an alternative name, too (`ip
// link property add`), but its rules compare the name alone (nft_meta.c, nft_meta_get_eval_ifname; x_tables.h,
// ifname_compare).
func noInterface(name string) []string {
	link, err := vnetlink.LinkByName(name)
	switch {
	case err != nil:
		return []string{fmt.Sprintf("warning: this host has no interface %s now; `ip link` shows them",
			rules.Printable(name))}
	case link.Attrs().Name != name:
		return []string{
			fmt.Sprintf("warning: %s is another name of %s, by which no packet arrives; write --interface %s",
				rules.Printable(name), link.Attrs().Name, link.Attrs().Name)}
	}
	return nil
}

// isOwn reports whether packets to the address are for this host: an interface has it, or a route of type local leads
// to it (AnyIP). An interface of a VRF is not in the table that the route is asked of, and one that is down has no
// route.
func isOwn(address netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true // not to be found out
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == address {
			return true
		}
	}
	routes, err := vnetlink.RouteGet(address.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}

func onlyLoopback(list []Server) bool {
	if len(list) == 0 {
		return false
	}
	for _, s := range list {
		if !s.Loopback {
			return false
		}
	}
	return true
}
