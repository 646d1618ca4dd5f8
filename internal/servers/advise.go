package servers

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Advise returns what a person should know of mappings that were just added: that no server is there yet, that one
// answers this host only or is not the owner's, that a process listens on the listen port itself and will not get all
// new connections, that nothing can arrive where the host lacks the address or the interface. typed returns a command
// of portmap, to be pasted.
func Advise(added []rules.Mapping, found Found, typed func(words ...string) string) []finding.Finding {
	if found.byPort == nil {
		return nil // it was not to be found out
	}
	if found.who == nil &&
		slices.ContainsFunc(added, func(m rules.Mapping) bool {
			behind := found.Of(m)
			return len(found.Shadowed(m)) > 0 || onlyLoopback(behind) || len(Blocked(m, behind)) > 0
		}) {
		found.ResolveProcesses() // a walk over /proc, for when somebody has to be named
	}
	var advice []finding.Finding
	said := map[string]bool{}
	for _, m := range added {
		for _, f := range slices.Concat(absent(m), shadowed(m, found), behind(m, found, typed)) {
			if key := f.Text + f.Remedy; !said[key] {
				said[key] = true
				advice = append(advice, f)
			}
		}
	}
	return advice
}

// shadowed tells of servers that listen on the listen ports themselves: of each once, whatever sockets it has.
func shadowed(m rules.Mapping, found Found) (advice []finding.Finding) {
	type server struct{ listens, loses string }
	var order []server
	at := map[server][]string{}
	found.eachShadowed(&m, func(s socket) {
		which, others := claimed(m, s)
		who := found.server(s)
		key := server{
			fmt.Sprintf("%s listens on port %d itself", who.Who(), who.Port),
			fmt.Sprintf("new connections%s go to %s instead%s", which, destination(m, who.Port), others),
		}
		if at[key] == nil {
			order = append(order, key)
		}
		at[key] = appendNew(at[key], who.Address)
	})
	for _, key := range order {
		advice = append(advice, finding.Finding{
			ID: finding.ServerShadowed, Mapping: m,
			Text: fmt.Sprintf("%s, at %s; %s", key.listens, strings.Join(at[key], " and "), key.loses),
		})
	}
	return advice
}

// appendNew appends a text that is not in the list yet.
func appendNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// destination says where a mapping takes the clients of a port.
func destination(m rules.Mapping, listen uint16) string {
	if port, here := m.TargetOf(listen); here {
		return fmt.Sprintf("port %d", port)
	}
	var texts []string
	for _, t := range m.Targets() {
		port := t.Ports.First + (listen - m.ListenPorts().First)
		if t.Addr.IsValid() {
			texts = append(texts, netip.AddrPortFrom(t.Addr, port).String())
		} else {
			texts = append(texts, fmt.Sprintf("port %d", port))
		}
	}
	return strings.Join(texts, " or ")
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

func few[T fmt.Stringer](list []T) string {
	const most = 3
	var texts []string
	for _, one := range list[:min(most, len(list))] {
		texts = append(texts, one.String())
	}
	if more := len(list) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// behind tells of target ports of this host where nobody answers.
func behind(m rules.Mapping, found Found, typed func(...string) string) []finding.Finding {
	target, _ := m.TargetPorts()
	switch reach, why := found.Reach(m); {
	case reach == Unserved && looksSwapped(m) && len(found.Shadowed(m)) > 0:
		return []finding.Finding{{
			ID: finding.PortsSwapped, Mapping: m,
			Text: fmt.Sprintf("no server listens on port %s/%s, and one on %s: the public port comes first",
				target, m.Protocols(), m.ListenPorts()),
			Remedy: typed("remove", m.ListenPorts().String()) + " && " +
				typed("add", fmt.Sprintf("%s:%s/%s", target, m.ListenPorts(), m.Protocols())),
		}}
	case reach == Unserved:
		return []finding.Finding{{ID: finding.NoServer, Mapping: m,
			Text: why + " yet; connections are refused until one does"}}
	case len(Blocked(m, found.Of(m))) > 0:
		return Blocked(m, found.Of(m))
	case reach == LocalOnly:
		return []finding.Finding{localOnly(m, why, found.anywhere(m), typed)}
	case reach == Partly:
		return []finding.Finding{{ID: finding.ServerPartly, Mapping: m,
			Text: why + "; connections there are refused until one does"}}
	}
	return nil
}

// Blocked tells of servers on the target ports that may not answer: the owner is somebody else.
func Blocked(m rules.Mapping, list []Server) (advice []finding.Finding) {
	for _, s := range list {
		if !m.MayAnswer(s.UID) {
			advice = append(advice, finding.Finding{
				ID: finding.ServerBlocked, Mapping: m,
				Text: fmt.Sprintf("%s listens on port %d, and is not %s: it cannot answer on %s",
					s.Who(), s.Port, m.Owner(), m.Spec()),
			})
		}
	}
	return advice
}

// privileged is below which ports need rights (ip(7), ip_unprivileged_port_start).
const privileged = 1024

func looksSwapped(m rules.Mapping) bool {
	target, here := m.TargetPorts()
	return here && target.Count() == 1 && m.ListenPorts().First >= privileged && target.First < privileged
}

// absent tells what of a mapping this host does not have. Both can come later.
func absent(m rules.Mapping) (advice []finding.Finding) {
	if listen := m.Listen(); listen.IsValid() && !listen.IsLoopback() && !isOwn(listen) {
		advice = append(advice, finding.Finding{
			ID: finding.AddressAbsent, Mapping: m,
			Text: fmt.Sprintf("no interface of this host has the address %s now; `ip address` shows them", listen),
		})
	}
	if m.Interface() != "" {
		advice = append(advice, noInterface(m)...)
	}
	return advice
}

// noInterface tells of an interface by whose name no packet arrives. The kernel finds an interface by an alternative
// name, too (`ip link property add`), but its rules compare the name alone (nft_meta.c, nft_meta_get_eval_ifname;
// x_tables.h, ifname_compare).
func noInterface(m rules.Mapping) []finding.Finding {
	name := m.Interface()
	link, err := vnetlink.LinkByName(name)
	switch {
	case err != nil:
		return []finding.Finding{{
			ID: finding.InterfaceAbsent, Mapping: m,
			Text: fmt.Sprintf("this host has no interface %s now; `ip link` shows them", rules.Printable(name)),
		}}
	case link.Attrs().Name != name:
		return []finding.Finding{{
			ID: finding.InterfaceAltname, Mapping: m,
			Text: fmt.Sprintf("%s is another name of %s, by which no packet arrives; write --interface %s",
				rules.Printable(name), link.Attrs().Name, link.Attrs().Name),
		}}
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
