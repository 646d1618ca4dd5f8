package others

import (
	"errors"
	"slices"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Drop is a chain of another tool on the way to the servers of this host that drops what none of its rules accepts.
type Drop struct {
	System System
	Table  string // "inet filter"; of iptables-legacy "filter of iptables-legacy"
	Chain  string

	ufw      bool
	families rules.Families
	accepts  []match // what its rules accept
	unknown  bool    // there are more rules than are looked at
}

// onInput reports whether packets for servers of this host end in the chain if no rule of it accepts them.
func (c chain) onInput() bool {
	return c.base && c.hook == unix.NF_INET_LOCAL_IN && c.kind == "filter" && c.drops
}

// filters looks for chains of nf_tables that drop.
func (r *Rules) filters(chains map[chainName]chain) error {
	var errs []error
	for _, c := range bases(chains, chain.onInput) {
		reading := reading{chains: chains, rules: map[chainName][]rule{}}
		d := Drop{System: Tables, Table: c.String(), Chain: c.name, families: c.families()}
		if d.Chain == "INPUT" && (d.Table == "ip filter" || d.Table == "ip6 filter") {
			d.System = IPTables
		}
		_, ufw := chains[chainName{c.table, "ufw-before-input"}]
		_, ufw6 := chains[chainName{c.table, "ufw6-before-input"}]
		d.ufw = ufw || ufw6
		d.follow(walk{rules: reading.of(c.table)})
		d.unknown = d.unknown || reading.left
		r.drops = append(r.drops, d)
		errs = append(errs, reading.err)
	}
	return errors.Join(errs...)
}

// follow collects what the chain's rules accept.
func (d *Drop) follow(w walk) {
	w.ours = "PORTMAP"
	w.visit = func(_ string, found rule) {
		if found.action == accept {
			d.accepts = append(d.accepts, found.match)
		}
	}
	under := anyPacket()
	under.families = d.families
	w.from(d.Chain, under, 0)
	d.unknown = d.unknown || w.steps > maxSteps
}

// stops returns the families over which other hosts do not reach the server behind a mapping. A rule that names the
// port and asks for more is taken for one that was made on purpose.
func (d *Drop) stops(m rules.Mapping) (stopped rules.Families) {
	target, here := m.TargetPorts()
	if !here || d.unknown || m.Listen().IsLoopback() {
		return 0
	}
	for _, family := range [...]rules.Families{rules.IPv4, rules.IPv6} {
		if d.families&m.Families()&family == 0 {
			continue
		}
		for _, protocol := range m.Protocols().Each() {
			lets := func(a match) bool {
				return a.families.Has(family) && a.protocols.Has(protocol) && a.lets(&m, target)
			}
			if !slices.ContainsFunc(d.accepts, lets) {
				stopped |= family
			}
		}
	}
	return stopped
}

// lets reports whether what is accepted has clients of a mapping.
func (m match) lets(mapping *rules.Mapping, target rules.Ports) bool {
	overlap := func(list []rules.Ports, ports rules.Ports) bool {
		return list == nil || slices.ContainsFunc(list, ports.Overlaps)
	}
	switch {
	case m.iface != "" && (m.iface == "lo" || mapping.Interface() != "" && m.iface != mapping.Interface()):
		return false
	case !overlap(m.ports, target) || !overlap(m.original, mapping.ListenPorts()):
		return false
	case m.ports != nil || m.original != nil || m.translated:
		return true
	}
	return !m.unread && m.from == nil && m.to == nil
}
