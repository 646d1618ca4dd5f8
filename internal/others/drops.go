package others

import (
	"errors"
	"net/netip"
	"slices"

	"portmap/ipt"
	"portmap/rules"
	"portmap/rules/facts"

	"golang.org/x/sys/unix"
)

// Drop is a chain of another tool on the way to servers that drops what none of its rules accepts.
type Drop struct {
	System System
	Table  string // "inet filter"; of iptables-legacy "filter of iptables-legacy"
	Chain  string

	forward bool // the servers are on other hosts; else on this one

	ufw      bool
	families rules.Families
	accepts  []match  // what its rules accept
	uplinks  []string // the interfaces by which other networks are reached, for what is sent on; empty if not known
	unknown  bool     // there are more rules than are looked at
}

// stopsClients reports whether packets for servers end in the chain if no rule of it accepts them.
func (c chain) stopsClients() bool {
	return c.base && c.kind == "filter" && c.drops &&
		(c.hook == unix.NF_INET_LOCAL_IN || c.hook == unix.NF_INET_FORWARD)
}

// filters looks for chains of nf_tables that drop.
func (r *Rules) filters(chains map[chainName]chain) error {
	var errs []error
	for _, c := range bases(chains, chain.stopsClients) {
		reading := reading{chains: chains, rules: map[chainName][]rule{}}
		d := Drop{System: Tables, Table: c.String(), Chain: c.name, families: c.families(),
			forward: c.hook == unix.NF_INET_FORWARD}
		if (d.Chain == "INPUT" || d.Chain == "FORWARD") && (d.Table == "ip filter" || d.Table == "ip6 filter") {
			d.System = IPTables
		}
		_, ufw := chains[chainName{c.table, "ufw-before-input"}]
		_, ufw6 := chains[chainName{c.table, "ufw6-before-input"}]
		d.ufw = ufw || ufw6
		d.follow(walk{rules: reading.of(c.table)})
		d.unknown = d.unknown || reading.left
		d.findUplinks()
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

// stops returns the families over which other hosts do not reach a server behind a mapping. A rule that names the
// port and asks for more is taken for one that was made on purpose.
func (d *Drop) stops(m rules.Mapping) (stopped rules.Families) {
	if d.unknown || m.Listen().IsLoopback() {
		return 0
	}
	for _, family := range (d.families & m.Families()).Each() {
		for _, target := range d.targets(&m, family) {
			for _, protocol := range m.Protocols().Each() {
				lets := func(a match) bool {
					return a.families.Has(family) && a.protocols.Has(protocol) && d.lets(a, &m, target)
				}
				if !slices.ContainsFunc(d.accepts, lets) {
					stopped |= family
				}
			}
		}
	}
	return stopped
}

// targets returns the servers that are behind the chain: those of this host without an address.
func (d *Drop) targets(m *rules.Mapping, family rules.Families) (list []rules.Target) {
	if !d.forward {
		for _, ports := range facts.LocalTargets(m) {
			list = append(list, rules.Target{Ports: ports})
		}
		return list
	}
	for _, t := range facts.TargetsIn(m, family) {
		if t.Remote() {
			list = append(list, t)
		}
	}
	return list
}

// program returns the iptables that changes the tables of a family.
func (s System) program(family rules.Families) string {
	program := map[rules.Families]string{rules.IPv4: "iptables", rules.IPv6: "ip6tables"}[family]
	if s == Legacy {
		return program + "-legacy"
	}
	return Variant(program)
}

// Variant returns the program of iptables-nft: iptables may be the other one.
func Variant(program string) string {
	if ipt.Program(program+"-nft") != "" {
		return program + "-nft"
	}
	return program
}

// lets reports whether what is accepted has clients of a mapping, on their way to a target. What comes from a network
// of containers or of virtual machines, which are no uplinks, is sent on for those alone.
func (d *Drop) lets(m match, mapping *rules.Mapping, target rules.Target) bool {
	overlap := func(list []rules.Ports, ports rules.Ports) bool {
		return list == nil || slices.ContainsFunc(list, ports.Overlaps)
	}
	goes := func(to netip.Prefix) bool { return to.Contains(target.Addr) }
	switch {
	case m.iface != "" && (m.iface == "lo" || mapping.Interface() != "" && m.iface != mapping.Interface()):
		return false
	case !overlap(m.ports, target.Ports) || !overlap(m.original, mapping.ListenPorts()):
		return false
	case target.Addr.IsValid() && m.to != nil && !slices.ContainsFunc(m.to, goes):
		return false
	case m.ports != nil || m.original != nil || m.translated:
		return true
	case d.forward && m.iface != "" && m.iface != mapping.Interface() && len(d.uplinks) > 0 &&
		!slices.Contains(d.uplinks, m.iface):
		return false
	}
	return !m.unread && m.from == nil && m.to == nil
}

// findUplinks sets the interfaces by which a default route leads.
func (d *Drop) findUplinks() {
	for _, family := range d.families.Each() {
		if d.forward {
			d.uplinks = append(d.uplinks, uplinks(family)...)
		}
	}
}
