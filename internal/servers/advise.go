package servers

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"portmap/rules"
)

// Advise says, in a line each, what a person should know of mappings that were just added: that no server is there yet, that
// one answers this host alone, that a process listens on the listen port itself and will get no new connections, that nothing
// can arrive where the host lacks the address or the interface.
func Advise(added []rules.Mapping, found Found) []string {
	if found.byPort == nil {
		return nil // it was not to be found out
	}
	if slices.ContainsFunc(added, func(m rules.Mapping) bool { return len(found.Shadowed(m)) > 0 || onlyLoopback(found.Of(m)) }) {
		found.Name() // a walk over /proc, for when somebody has to be named
	}
	var lines []string
	for _, m := range added {
		lines = append(lines, absent(m)...)
		for _, s := range found.Shadowed(m) {
			lines = append(lines, fmt.Sprintf("warning: %s listens on port %d itself, at %s; new connections go to port %d instead", s.Who(), s.Port, s.Address, m.TargetOf(s.Port)))
		}
		if len(m.Targets()) > 0 {
			continue
		}
		behind := found.Of(m)
		switch {
		case len(behind) == 0 && looksSwapped(m) && len(found.Shadowed(m)) > 0:
			lines = append(lines, fmt.Sprintf("no server listens on port %s/%s, and one on %s: the public port comes first; to swap them: portmap remove %s && portmap add %s:%s/%s",
				m.TargetPorts(), m.Protocols(), m.ListenPorts(), m.ListenPorts(), m.TargetPorts(), m.ListenPorts(), m.Protocols()))
		case len(behind) == 0:
			lines = append(lines, fmt.Sprintf("no server listens on port %s/%s yet; connections are refused until one does", m.TargetPorts(), m.Protocols()))
		case onlyLoopback(behind) && !m.Listen().IsLoopback():
			lines = append(lines, fmt.Sprintf("warning: %s listens at %s, where other hosts do not reach it; make it listen on every address", behind[0].Who(), behind[0].Address))
		}
	}
	return lines
}

// privileged is below which ports need rights (ip(7), ip_unprivileged_port_start).
const privileged = 1024

func looksSwapped(m rules.Mapping) bool {
	return m.ListenPorts().Count() == 1 && m.ListenPorts().First >= privileged && m.TargetPorts().First < privileged
}

// absent tells what of a mapping this host does not have. Both can come later.
func absent(m rules.Mapping) (lines []string) {
	if listen := m.Listen(); listen.IsValid() && !listen.IsLoopback() && !isOwn(listen) {
		lines = append(lines, fmt.Sprintf("warning: no interface of this host has the address %s now; `ip address` shows them", listen))
	}
	if name := m.Interface(); name != "" {
		if _, err := net.InterfaceByName(name); err != nil {
			lines = append(lines, fmt.Sprintf("warning: this host has no interface %s now; `ip link` shows them", rules.Printable(name)))
		}
	}
	return lines
}

// isOwn reports whether an interface has the address; true also where that cannot be found out.
func isOwn(address netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == address {
			return true
		}
	}
	return false
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
