package servers

import (
	"fmt"
	"net/netip"
	"strings"

	"portmap/rules"
)

// Reach is who of a mapping's clients finds a server on this host.
type Reach int

// The reaches.
const (
	Served    Reach = iota // all of them do, or the target is another host
	Unserved               // none does: nobody listens on the target port
	LocalOnly              // those of this host do: who listens is bound to loopback
	Partly                 // those of another protocol or address family do not
)

// Reach returns who finds a server, and why the others do not: a sentence that is empty for Served. One port of a range
// is enough: who maps a range often has servers that come and go. What stands behind one of several targets is found by
// a part of the clients.
func (f Found) Reach(m rules.Mapping) (reach Reach, why string) {
	targets := targetsHere(&m)
	for i, t := range targets {
		at, because := f.reachAt(&m, t)
		if why == "" {
			why = because
		}
		switch {
		case i == 0:
			reach = at
		case at != reach:
			reach = Partly
		}
	}
	return reach, why
}

// reachAt is Reach of one target.
func (f Found) reachAt(m *rules.Mapping, t rules.Target) (Reach, string) {
	servers := f.list(func(visit func(socket)) { f.eachAt(m, t.Addr, t.Ports, visit) })
	elsewhere := len(servers) == 0 && t.Addr.IsValid() && !t.Addr.IsLoopback()
	if elsewhere {
		servers = f.list(func(visit func(socket)) { f.eachAt(m, netip.Addr{}, t.Ports, visit) })
	}
	switch {
	case len(servers) == 0:
		return Unserved, fmt.Sprintf("no server listens on port %s/%s", t.Ports, m.Protocols())
	case elsewhere && !onlyLoopback(servers):
		return Unserved, fmt.Sprintf("%s listens at %s, and no server at %s", servers[0].Who(), addresses(servers),
			t.Addr)
	case onlyLoopback(servers) && !t.Addr.IsLoopback():
		return LocalOnly, fmt.Sprintf("%s listens at %s, where other hosts do not reach it", servers[0].Who(),
			addresses(servers))
	}
	if lacks := f.lacks(m, t); lacks != "" {
		return Partly, "no server listens on port " + lacks
	}
	return Served, ""
}

// lacks names the ports, protocols and families of a target for which nobody listens; "" if somebody does for each.
func (f Found) lacks(m *rules.Mapping, t rules.Target) string {
	needed := m.Families()
	if !t.Addr.IsValid() && needed == rules.BothFamilies && !hasIPv6() {
		needed = rules.IPv4
	}
	served := map[rules.Protocols]rules.Families{}
	f.eachAt(m, t.Addr, t.Ports, func(s socket) {
		if !s.loopback() || t.Addr.IsLoopback() {
			served[s.protocol] |= s.families() & needed
		}
	})
	var lacks []string
	for _, protocol := range m.Protocols().Each() {
		switch missing := needed &^ served[protocol]; missing {
		case 0:
		case needed:
			lacks = append(lacks, fmt.Sprintf("%s/%s", t.Ports, protocol))
		default:
			lacks = append(lacks, fmt.Sprintf("%s/%s over %s", t.Ports, protocol, missing))
		}
	}
	return strings.Join(lacks, ", ")
}

// addresses lists what servers are bound to, each once.
func addresses(servers []Server) string {
	var list []string
	for _, s := range servers {
		list = appendNew(list, s.Address)
	}
	return strings.Join(list, " and ")
}
