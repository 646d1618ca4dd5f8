package servers

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"portmap/rules"
	"portmap/rules/facts"
)

// Incoming is a mapping that is to be added, with those in whose place it comes.
type Incoming struct {
	rules.Mapping
	Old []rules.Mapping
}

// CutOffError says that a mapping would take the clients of a server that works to a port where nobody answers them.
type CutOffError struct {
	Mapping  rules.Mapping
	Server   Server // whose clients they are
	Listen   uint16 // the port that they use
	Target   uint16 // where they would be taken
	Protocol rules.Protocols
	Families rules.Families // over which nobody would answer; some of the server's
	Partly   bool           // over another family somebody would
	Near     Server         // listens on the target, but for this host alone; its Port is 0 where there is none
}

func (e *CutOffError) Error() string {
	serves := fmt.Sprintf("serves port %d/%s at %s", e.Listen, e.Protocol, e.Server.Address)
	over := ""
	if e.Partly {
		over = " over " + e.Families.String()
	}
	whose := "no server"
	if owner := e.Mapping.Owner(); owner != "" {
		whose += " of " + owner
	}
	lacks := fmt.Sprintf("%s listens on port %d/%s%s yet", whose, e.Target, e.Protocol, over)
	if e.Near.Port != 0 {
		lacks = fmt.Sprintf("%s listens on port %d at %s, where other hosts do not reach it", e.Near.Who(), e.Near.Port,
			e.Near.Address)
	}
	return fmt.Sprintf("%s: %s %s, and %s; its clients%s would be refused", e.Mapping.Spec(), e.Server.Who(), serves,
		lacks, over)
}

// Swapped reports whether the mapping looks as if its ports were meant the other way round: it leads from a port that
// any user may take to one that needs rights.
func (e *CutOffError) Swapped() bool { return looksSwapped(e.Mapping) }

// SSHError says that a mapping would take the port by which one gets into this host.
type SSHError struct {
	Mapping rules.Mapping
	Server  Server
}

func (e *SSHError) Error() string {
	return fmt.Sprintf("%s: takes port %d, where %s lets people in over SSH", e.Mapping.Spec(), e.Server.Port,
		e.Server.Who())
}

// Guard finds the first server that incoming mappings cut off from its clients: a [*CutOffError] or an [*SSHError].
// Clients that a mapping has already, which another replaces, are those of the server behind it.
func Guard(incoming []Incoming, found *Found) error {
	for i := range incoming {
		if err := found.guard(&incoming[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *Found) guard(in *Incoming) (err error) {
	f.eachLosing(in, func(s socket, listen uint16) {
		for _, ports := range facts.LocalTargets(&in.Mapping) { // what another host answers is not to be seen from here
			target := ports.First + (listen - in.ListenPorts().First)
			if err != nil {
				return
			}
			if lost := f.unanswered(in, s, target); lost != 0 {
				err = f.cutOff(in, s, listen, target, lost)
			} else if server := f.named(s); server.SSH && !f.leadsToSSH(target) {
				err = &SSHError{in.Mapping, server}
			}
		}
		if len(facts.LocalTargets(&in.Mapping)) == 0 && err == nil && f.named(s).SSH {
			err = &SSHError{in.Mapping, f.named(s)}
		}
	})
	return err
}

// eachLosing calls visit for the sockets that answer now on one of the listen ports: those of servers on the port
// itself, and those behind a mapping that goes.
func (f *Found) eachLosing(in *Incoming, visit func(s socket, listen uint16)) {
	f.eachShadowed(&in.Mapping, func(s socket) {
		if s.mayBeClient() {
			return
		}
		for _, old := range in.Old {
			if f.isShadowed(old, s) {
				return // it has lost them already
			}
		}
		visit(s, s.local.Port())
	})
	for _, old := range in.Old {
		for _, target := range facts.LocalTargets(&old) {
			f.each(&old, target, func(s socket) {
				listen := old.ListenPorts().First + (s.local.Port() - target.First)
				if in.ListenPorts().Contains(listen) && in.Protocols().Has(s.protocol) &&
					s.answers(in.Listen(), in.Families()) {
					visit(s, listen)
				}
			})
		}
	}
}

func (f *Found) isShadowed(m rules.Mapping, s socket) (is bool) {
	f.eachShadowed(&m, func(t socket) { is = is || t.inode == s.inode })
	return is
}

// clients returns the families over which s has clients that the mapping takes.
func (f *Found) clients(in *Incoming, s socket) rules.Families {
	families := s.families() & in.Families()
	if !addressOf(in, s).IsValid() && families.Has(rules.IPv6) && !hasIPv6() {
		families &^= rules.IPv6
	}
	return families
}

// unanswered returns those over which nobody would answer them at the target port.
func (f *Found) unanswered(in *Incoming, s socket, target uint16) rules.Families {
	lost, address := f.clients(in, s), addressOf(in, s)
	for _, t := range f.byPort[portKey{s.protocol, target}] {
		switch {
		case !in.MayAnswer(t.uid):
		case address.IsValid() && t.answers(address, 0):
			return 0
		case !address.IsValid() && !t.loopback():
			lost &^= t.families()
		}
	}
	return lost
}

// addressOf returns the one address at which s has the clients that the mapping takes, or the zero Addr where there are
// many.
func addressOf(in *Incoming, s socket) netip.Addr {
	if local := s.local.Addr().Unmap(); !local.IsUnspecified() {
		return local
	}
	return in.Listen()
}

// hasIPv6 reports whether other hosts can have an IPv6 address of this one: if not, a server on [::] has no clients to
// lose.
func hasIPv6() bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && prefix.Addr().IsGlobalUnicast() {
			return true
		}
	}
	return false
}

func (f *Found) cutOff(in *Incoming, s socket, listen, target uint16, lost rules.Families) *CutOffError {
	e := &CutOffError{
		Mapping: in.Mapping, Server: f.named(s), Listen: listen, Target: target, Protocol: s.protocol,
		Families: lost, Partly: lost != f.clients(in, s),
	}
	for _, t := range f.byPort[portKey{s.protocol, target}] {
		if t.loopback() && t.families()&lost != 0 {
			e.Near = f.named(t)
		}
	}
	return e
}

func (f *Found) leadsToSSH(target uint16) bool {
	for _, t := range f.byPort[portKey{rules.TCP, target}] {
		if f.named(t).SSH {
			return true
		}
	}
	return false
}

// named returns a server with its process: somebody has to be named.
func (f *Found) named(s socket) Server {
	if f.who == nil || !f.wanted[s.inode] {
		f.wanted[s.inode] = true
		f.ResolveProcesses()
	}
	return f.server(s)
}

// mayBeClient reports whether the socket is one of UDP with a port that the kernel gives to clients: a client that is
// not connected looks like a server, and loses nothing, since connection tracking knows the flows that it began.
func (s socket) mayBeClient() bool {
	if s.protocol != rules.UDP {
		return false
	}
	given := rules.Ports{First: 32768, Last: 60999} // the default, Documentation/networking/ip-sysctl.rst
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(text), &given.First, &given.Last)
	}
	return given.Contains(s.local.Port())
}
