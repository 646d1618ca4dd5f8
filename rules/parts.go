package rules

import (
	"net/netip"
	"slices"
)

// Parts are what a mapping is made of. Only the ports are required.
type Parts struct {
	Listen      netip.Addr     // an address of this host; zero: every one
	ListenPorts Ports          // that clients use; of a single port, Last may be 0
	TargetPorts Ports          // of the server on this host, at the address that the packet came to; zero: Targets
	Targets     []Target       // servers that have an address, or several on this host, which have none
	Protocols   Protocols      // zero: TCP
	Families    Families       // only IPv4, or only IPv6; zero: what the addresses allow
	Sources     []netip.Prefix // networks of the clients; none: every client
	Interface   string         // that packets must arrive on; empty: any, and connections of this host itself
	Name        string         // a label
	Owner       string         // the user or uid whose server may answer
	// see [Options]
	Hide, Forward, Sticky, Temporary bool
}

// Parts returns what the mapping is made of: [New] makes an equal mapping of it.
func (m Mapping) Parts() Parts {
	e := m.extra()
	return Parts{
		Listen: e.listen, ListenPorts: m.ports, TargetPorts: m.target, Targets: slices.Clone(e.targets),
		Protocols: m.protocols, Families: m.only, Sources: slices.Clone(e.sources), Interface: e.iface,
		Name: m.name, Owner: e.owner,
		Hide: m.flags&hide != 0, Forward: m.flags&forward != 0, Sticky: m.flags&sticky != 0,
		Temporary: m.flags&temporary != 0,
	}
}

// New makes a mapping. The error is an [*InvalidError], as that of [Parse].
func New(p Parts) (Mapping, error) {
	p.ListenPorts, p.TargetPorts = single(p.ListenPorts), single(p.TargetPorts)
	p.Targets = slices.Clone(p.Targets)
	for i := range p.Targets {
		p.Targets[i].Ports = single(p.Targets[i].Ports)
	}
	if p.Protocols == 0 {
		p.Protocols = TCP
	}
	options := Options()
	unchecked := p.unchecked()
	var m Mapping
	err := m.setOptions(&unchecked, options)
	if err == nil {
		err = m.setSides(&p)
	}
	if err == nil {
		err = m.normalize()
	}
	if err != nil {
		err.Mapping = string(unchecked.appendSpec(nil))
		return Mapping{}, err
	}
	if err := m.write(options); err != nil {
		return Mapping{}, err
	}
	return m, nil
}

func single(p Ports) Ports {
	if p.Last == 0 {
		p.Last = p.First
	}
	return p
}

// unchecked returns a mapping that may be illegal, to be read and never given away.
func (p *Parts) unchecked() Mapping {
	m := Mapping{ports: p.ListenPorts, target: p.TargetPorts, protocols: p.Protocols, name: p.Name, extras: &extras{
		listen: p.Listen, targets: p.Targets, sources: p.Sources, iface: p.Interface, owner: p.Owner,
	}}
	if p.Families != BothFamilies {
		m.only = p.Families
	}
	for _, f := range [...]struct {
		given bool
		flag  flags
	}{{p.Hide, hide}, {p.Forward, forward}, {p.Sticky, sticky}, {p.Temporary, temporary}} {
		if f.given {
			m.flags |= f.flag
		}
	}
	return m
}

// setOptions gives m the options of an unchecked mapping, one by one as Parse does.
func (m *Mapping) setOptions(from *Mapping, options []Option) *InvalidError {
	if unknown := from.only &^ BothFamilies; unknown != 0 {
		return &InvalidError{Part: "families", Why: "neither IPv4 nor IPv6", Fix: "leave them out for both"}
	}
	for i := range options {
		for _, value := range options[i].show(from) {
			if err := options[i].apply(m, options[i].flag(), value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Mapping) setSides(p *Parts) *InvalidError {
	m.protocols, m.ports, m.target = p.Protocols, p.ListenPorts, p.TargetPorts
	if p.Protocols.String() == "" {
		return notAProtocol("")
	}
	if p.Listen.IsValid() {
		if err := checkAddr(p.Listen, p.Listen.String()); err != nil {
			return err
		}
		if err := m.setListen(p.Listen); err != nil {
			return err
		}
	}
	if err := m.ports.check(); err != nil {
		return err
	}
	if len(p.Targets) == 0 {
		return m.target.check()
	}
	if m.target != (Ports{}) {
		return &InvalidError{Part: m.target.String(), Why: "ports of this host beside targets that have an address",
			Fix: "leave one of them out"}
	}
	return m.setTargets(p.Targets)
}

func (m *Mapping) setTargets(targets []Target) *InvalidError {
	local := func(t Target) bool { return !t.Addr.IsValid() }
	if len(targets) > 1 && !slices.ContainsFunc(targets, func(t Target) bool { return !local(t) }) {
		for _, t := range targets {
			if err := t.Ports.check(); err != nil {
				return err
			}
		}
		m.edit().targets = slices.Clone(targets)
		return nil
	}
	for _, t := range targets {
		if local(t) {
			return &InvalidError{Part: t.Ports.String(), Why: "not a target",
				Fix: "several targets are written ADDRESS:PORT,ADDRESS:PORT"}
		}
		if err := checkAddr(t.Addr, t.Addr.String()); err != nil {
			return err
		}
		if err := m.addTarget(t.Addr); err != nil {
			return err
		}
		if t.Ports == (Ports{}) {
			return &InvalidError{Part: t.Addr.String(), Why: "the target's port is missing",
				Fix: "write " + t.Addr.String() + ":8443"}
		}
		if err := t.Ports.check(); err != nil {
			return err
		}
		m.extras.targets[len(m.extras.targets)-1].Ports = t.Ports
	}
	return nil
}
