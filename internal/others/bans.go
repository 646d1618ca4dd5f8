package others

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// hop is a chain on the way of packets to servers, with all rules that it leads to which end their way.
type hop struct {
	hook  uint32
	early bool // it sees packets before NAT: their port is that which the client used
	drops bool // its policy
	ends  []Rule
}

// packet is the first one of a connection, from a client in a network.
type packet struct {
	family     rules.Families
	protocol   rules.Protocols
	from       netip.Prefix
	port       uint16
	listen     uint16 // the port that the client used
	iface      string // on which it comes in; "" if that is not asked
	translated bool
}

// takes reports whether a match can have the packet, and whether it has it for certain.
func (m match) takes(p packet) (possible, certain bool) {
	has := func(list []rules.Ports, port uint16) bool {
		return list == nil || slices.ContainsFunc(list, func(r rules.Ports) bool { return r.Contains(port) })
	}
	whole := func(n netip.Prefix) bool { return n.Bits() <= p.from.Bits() && n.Contains(p.from.Addr()) }
	possible = m.families.Has(p.family) && m.protocols.Has(p.protocol) && has(m.ports, p.port) &&
		has(m.original, p.listen) && (p.translated || !m.translated) && m.iface != "lo" &&
		(m.iface == "" || p.iface == "" || m.iface == p.iface) &&
		(m.from == nil || slices.ContainsFunc(m.from, p.from.Overlaps))
	certain = possible && !m.unread && (m.iface == "" || m.iface == p.iface) && m.to == nil &&
		(m.from == nil || slices.ContainsFunc(m.from, whole))
	return possible, certain
}

// dropped reports whether the packet ends in the chain, and the number of the rule; -1 for the policy. A rule that is
// not understood, and names no source, is taken for one about other packets, such as invalid ones.
func (h *hop) dropped(p packet) (rule int, dropped bool) {
	accepted := false
	for i := range h.ends {
		r := &h.ends[i]
		switch possible, certain := r.match.takes(p); {
		case r.action == drop && possible && (certain || r.match.from != nil):
			return i, true
		case r.action == accept && certain:
			return 0, false
		case r.action == accept && possible:
			accepted = true
		}
	}
	return -1, h.drops && !accepted
}

// way is the chains of others that packets to servers can meet.
type way []hop

// lookWay reads them; nil where there are too many rules.
func lookWay(ctx context.Context) (way, error) {
	all, err := chains()
	if err != nil {
		return nil, err
	}
	var list way
	reading := reading{chains: all, rules: map[chainName][]rule{}}
	for _, base := range bases(all, chain.filters) {
		h := hop{hook: base.hook, early: base.hook == unix.NF_INET_PRE_ROUTING && base.priority < priorityOfIPTables,
			drops: base.drops}
		from := Rule{System: base.tool(), Table: base.String()}
		left := h.collect(walk{rules: reading.of(base.table), ours: "PORTMAP"}, base.name, from, base.families())
		if left || reading.left {
			return nil, reading.err
		}
		list = append(list, h)
	}
	legacy, err := legacyWay(ctx)
	return append(list, legacy...), errors.Join(reading.err, err)
}

// filters reports whether packets to servers can be dropped in the chain.
func (c chain) filters() bool {
	return c.base && c.kind == "filter" && (c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_LOCAL_IN ||
		c.hook == unix.NF_INET_FORWARD)
}

// tool tells chains of iptables-nft, which have names in capitals, from others.
func (c chain) tool() System {
	if c.name == strings.ToUpper(c.name) && c.family != unix.NFPROTO_INET {
		return IPTables
	}
	return Tables
}

// collect follows the rules of the chain, and reports whether some were left out.
func (h *hop) collect(w walk, base string, from Rule, families rules.Families) (left bool) {
	w.visit = func(chain string, found rule) {
		if found.action == accept || found.action == drop {
			from.Chain, from.rule = chain, found
			from.Tool = toolOf(from)
			h.ends = append(h.ends, from)
		}
	}
	under := anyPacket()
	under.families = families
	w.from(base, under, 0)
	return w.steps > maxSteps
}

// legacyWay is lookWay for iptables-legacy.
func legacyWay(ctx context.Context) (list way, err error) {
	for _, program := range legacyPrograms() {
		names, _ := os.ReadFile("/proc/thread-self/net/" + program.tables)
		for _, table := range strings.Fields(string(names)) {
			bases := map[string][]string{
				"raw": {"PREROUTING"}, "mangle": {"PREROUTING"}, "filter": {"INPUT", "FORWARD"},
			}
			if bases[table] == nil {
				continue
			}
			chains, e := legacyRules(ctx, program.name, table)
			err = errors.Join(err, e)
			for _, base := range bases[table] {
				hook := map[string]uint32{"PREROUTING": unix.NF_INET_PRE_ROUTING, "INPUT": unix.NF_INET_LOCAL_IN,
					"FORWARD": unix.NF_INET_FORWARD}[base]
				_, drops := chains[dropPolicy(base)]
				h := hop{hook: hook, early: hook == unix.NF_INET_PRE_ROUTING, drops: drops}
				from := Rule{System: Legacy, Table: table + " of " + program.name}
				h.collect(walk{rules: func(chain string) []rule { return chains[chain] }, ours: "PORTMAP"}, base, from,
					program.families)
				list = append(list, h)
			}
		}
	}
	return list, err
}

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
func (w way) bypassed(m *rules.Mapping, looks *int) (list []ban) {
	for i := range w {
		h := &w[i]
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
				if by, stopped := h.dropped(p); stopped && by == number && !w.stops(p, m) {
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
func (w way) stops(p packet, m *rules.Mapping) bool {
	mapped, hook := p.mapped(m)
	for i := range w {
		h := &w[i]
		met := mapped
		if h.early {
			met = p
		}
		if h.hook == unix.NF_INET_PRE_ROUTING || h.hook == hook {
			if _, dropped := h.dropped(met); dropped {
				return true
			}
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
