package servers

import (
	"fmt"
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
// is enough: who maps a range often has servers that come and go.
func (f Found) Reach(m rules.Mapping) (Reach, string) {
	target, here := m.TargetPorts()
	servers := f.Of(m)
	switch {
	case !here:
		return Served, ""
	case len(servers) == 0:
		return Unserved, fmt.Sprintf("no server listens on port %s/%s", target, m.Protocols())
	case onlyLoopback(servers) && !m.Listen().IsLoopback():
		return LocalOnly, fmt.Sprintf("%s listens at %s, where other hosts do not reach it", servers[0].Who(),
			addresses(servers))
	}
	if lacks := f.lacks(m, target); lacks != "" {
		return Partly, "no server listens on port " + lacks
	}
	return Served, ""
}

// lacks names the ports, protocols and families of a mapping for which nobody listens; "" if somebody does for each.
func (f Found) lacks(m rules.Mapping, target rules.Ports) string {
	needed := m.Families()
	if !m.Listen().IsValid() && needed == rules.BothFamilies && !hasIPv6() {
		needed = rules.IPv4
	}
	served := map[rules.Protocols]rules.Families{}
	f.each(&m, target, func(s socket) {
		if !s.loopback() || m.Listen().IsLoopback() {
			served[s.protocol] |= s.families() & needed
		}
	})
	var lacks []string
	for _, protocol := range m.Protocols().Each() {
		switch missing := needed &^ served[protocol]; missing {
		case 0:
		case needed:
			lacks = append(lacks, fmt.Sprintf("%s/%s", target, protocol))
		default:
			lacks = append(lacks, fmt.Sprintf("%s/%s over %s", target, protocol, missing))
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
