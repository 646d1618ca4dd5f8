package rules

import (
	"net/netip"
	"slices"
)

// What a mapping, and a [Set], can have at most. It bounds what a file can cost.
const (
	MaxText    = 1<<17 - 1 // bytes of a mapping with its options: one argument of a command (MAX_ARG_STRLEN)
	MaxPorts   = 1 << 20   // listen ports of all mappings of a Set together
	MaxTargets = 32        // targets of a mapping: the match cluster of iptables has no more (xt_cluster.h)
)

// Target is a server.
type Target struct {
	Addr  netip.Addr // of another host, or loopback; zero: this host, at the address that the packet came to
	Ports Ports      // as many as the listen ports, in the same order
}

// Mapping is a listen side, a target side and options. Only [Parse], [Parser] and [New] make one. It does not change.
type Mapping struct {
	ports     Ports
	target    Ports // where there is one target without an address
	protocols Protocols
	families  Families // what it really covers
	only      Families // what -4 or -6 added to that; 0 where the addresses say it already
	flags     flags
	specLen   uint32 // how much of text is the mapping without its options
	name      string
	text      string
	extras    *extras // nil for most mappings: a host can have 60,000 of them
}

// extras is what few mappings have.
type extras struct {
	listen  netip.Addr
	targets []Target // with addresses, or several without
	sources []netip.Prefix
	iface   string
	owner   string
	uid     uint32 // of the owner, if it is resolved
	known   bool   // whether it is
}

// edit returns the extras, to be changed while the mapping is being made.
func (m *Mapping) edit() *extras {
	if m.extras == nil {
		m.extras = &extras{}
	}
	return m.extras
}

// extra returns the extras, to be read.
func (m *Mapping) extra() extras {
	if m.extras == nil {
		return extras{}
	}
	return *m.extras
}

type flags uint8

const (
	hide flags = 1 << iota
	forward
	sticky
	temporary
	reserve
	direct
)

// String returns the canonical text with the options, which [Parse] reads back.
func (m Mapping) String() string { return m.text }

// Spec returns the text without the options, for example "443:8443/tcp".
func (m Mapping) Spec() string { return m.text[:m.specLen] }

// Equal reports whether two mappings are the same, options included.
func (m Mapping) Equal(o Mapping) bool { return m.text == o.text }

// IsZero reports whether m is the zero Mapping, which maps nothing.
func (m Mapping) IsZero() bool { return m.text == "" }

// Listen returns the listen address; the zero Addr for every local one.
func (m Mapping) Listen() netip.Addr { return m.extra().listen }

// ListenPorts returns the ports that clients use.
func (m Mapping) ListenPorts() Ports { return m.ports }

// TargetPorts returns the server's ports; false if there are [Mapping.Targets].
func (m Mapping) TargetPorts() (Ports, bool) { return m.target, m.target != Ports{} }

// TargetOf is [Mapping.TargetPorts] for one listen port; false for another one.
func (m Mapping) TargetOf(listen uint16) (uint16, bool) {
	if m.target == (Ports{}) || !m.ports.Contains(listen) {
		return 0, false
	}
	return m.target.First + (listen - m.ports.First), true
}

// servers returns all servers. That of a mapping to one server on this host has no address.
func (m *Mapping) servers() []Target {
	if m.target != (Ports{}) {
		return []Target{{Ports: m.target}}
	}
	return m.extra().targets
}

func (m *Mapping) hasRemote() bool { return slices.ContainsFunc(m.extra().targets, Target.Remote) }

func (m *Mapping) hasLoopback() bool { return slices.ContainsFunc(m.extra().targets, Target.loopback) }

// localTarget is the port of one of several servers on this host for a listen port.
func (m *Mapping) localTarget(number int, listen uint16) uint16 {
	first := m.target.First
	if m.extras != nil && len(m.extras.targets) > 0 {
		first = m.extras.targets[number].Ports.First
	}
	return first + (listen - m.ports.First)
}

// localTargets is how many servers on this host the mapping has, at the address that the packet came to.
func (m *Mapping) localTargets() int {
	switch {
	case m.extras == nil || len(m.extras.targets) == 0:
		return 1
	case m.extras.targets[0].Addr.IsValid():
		return 0
	}
	return len(m.extras.targets)
}

// Targets returns the servers, sorted, if they have addresses or are several on this host, which have none.
func (m Mapping) Targets() []Target { return slices.Clone(m.extra().targets) }

func (t Target) loopback() bool { return t.Addr.IsLoopback() }

// Remote reports whether the target is on another host.
func (t Target) Remote() bool { return t.Addr.IsValid() && !t.Addr.IsLoopback() }

// Protocols returns the transport protocols.
func (m Mapping) Protocols() Protocols { return m.protocols }

// Families returns the families that addresses, sources and -4 or -6 leave.
func (m Mapping) Families() Families { return m.families }

// Sources returns the networks of clients, sorted and disjoint; none for all.
func (m Mapping) Sources() []netip.Prefix { return slices.Clone(m.extra().sources) }

// Interface returns the interface that packets must arrive on; empty for any.
func (m Mapping) Interface() string { return m.extra().iface }

// Name returns the label; it may be empty.
func (m Mapping) Name() string { return m.name }

// Owner returns the user or uid whose server may answer; it may be empty.
func (m Mapping) Owner() string { return m.extra().owner }

// Hide reports whether other hosts cannot reach the target port directly.
func (m Mapping) Hide() bool { return m.flags&hide != 0 }

// Forward reports whether IP forwarding is to be switched on.
func (m Mapping) Forward() bool { return m.flags&forward != 0 }

// Sticky reports whether a client stays on its target.
func (m Mapping) Sticky() bool { return m.flags&sticky != 0 }

// Temporary reports whether the mapping is in the kernel only, never saved.
func (m Mapping) Temporary() bool { return m.flags&temporary != 0 }

// Within refuses a mapping with an option that no backend supports yet.
func (m Mapping) Within() error {
	switch {
	case m.flags&reserve != 0:
		return &UnsupportedError{Part: "--reserve"}
	case m.flags&direct != 0:
		return &UnsupportedError{Part: "--direct"}
	}
	return nil
}
