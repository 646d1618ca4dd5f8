package others

import (
	"fmt"
	"slices"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// ban is a source that a firewall does not let in, and that reaches a mapping all the same.
type ban struct {
	rule    *Rule
	mapping *rules.Mapping
	packet  packet // as the client sends it
}

// maxBans is how many bans are told of; a search of more than maxLooks comparisons ends.
const (
	maxBans  = 16
	maxLooks = 1 << 20
)

// bypassed returns bans of a mapping that its clients are not subject to.
func (f *Filters) bypassed(m *rules.Mapping, looks *int) (list []ban) {
	for i := range f.hops {
		h := &f.hops[i]
		if h.hook != unix.NF_INET_LOCAL_IN {
			continue
		}
		for number := range h.ends {
			r := &h.ends[number]
			if r.action != drop || r.match.unread || r.match.from == nil {
				continue
			}
			for _, p := range banned(r, m) {
				if *looks += len(h.ends); *looks > maxLooks || len(list) == maxBans {
					return list
				}
				if by, stopped := h.dropped(p); stopped && by == number && !f.stops(p, m) {
					list = append(list, ban{r, m, p})
				}
			}
		}
	}
	return list
}

// banned returns the packets to a mapping's first port that a rule is about.
func banned(r *Rule, m *rules.Mapping) (list []packet) {
	ports := m.ListenPorts()
	listen := ports.First
	for _, p := range r.match.ports {
		if p.Overlaps(ports) {
			listen = max(p.First, ports.First)
		}
	}
	for _, from := range r.match.from {
		if sources := m.Sources(); len(sources) > 0 && !slices.ContainsFunc(sources, from.Overlaps) ||
			!m.Families().Has(rules.FamilyOf(from.Addr())) {
			continue
		}
		for _, protocol := range (m.Protocols() & r.match.protocols).Each() {
			list = append(list, packet{family: rules.FamilyOf(from.Addr()), protocol: protocol, from: from,
				port: listen, listen: listen})
		}
	}
	return list
}

// stops reports whether the client's packet ends on its way to a server of the mapping.
func (f *Filters) stops(p packet, m *rules.Mapping) bool {
	for h, met := range f.meet(p, m) {
		if _, dropped := h.dropped(met); dropped {
			return true
		}
	}
	return false
}

// where names the ban's rule without the source, which stands beside it.
func (b ban) where() string {
	text := fmt.Sprintf("table %s, chain %s", b.rule.Table, rules.Printable(b.rule.Chain))
	if b.rule.Tool != "" {
		text += " (" + b.rule.Tool + ")"
	}
	return text
}
