package rules

import "net/netip"

// Parse and New set the two sides of a mapping by these, so that both refuse the same.

// setListen sets the listen address.
func (m *Mapping) setListen(a netip.Addr) *InvalidError {
	switch {
	case a.IsUnspecified() && a.Is4():
		return &InvalidError{Part: a.String(), Why: "stands for every address",
			Fix: "leave it out; add -4 for IPv4 only"}
	case a.IsUnspecified():
		return &InvalidError{Part: a.String(), Why: "stands for every address",
			Fix: "leave it out; add -6 for IPv6 only"}
	case isGroup(a):
		return &InvalidError{Part: a.String(), Why: "not an address of a host",
			Fix: "listen on an address that `ip address` shows"}
	}
	m.edit().listen = a
	return nil
}

// addTarget adds a target, which gets its ports later.
func (m *Mapping) addTarget(a netip.Addr) *InvalidError {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return &InvalidError{Part: a.String(), Why: "a link-local address, which is not reached without an interface",
			Fix: "write another address of that host"}
	}
	if a.IsUnspecified() || isGroup(a) {
		return &InvalidError{Part: a.String(), Why: "not an address of a host",
			Fix: "leave it out for a server on this host"}
	}
	e := m.edit()
	e.targets = append(e.targets, Target{Addr: a})
	return nil
}

// isGroup reports whether an address is one of many hosts.
func isGroup(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// checkAddr refuses an address with a zone, and an IPv4 address inside an IPv6 one. The error shows it as it was
// written.
func checkAddr(a netip.Addr, written string) *InvalidError {
	switch {
	case a.Zone() != "":
		zone := Printable(a.Zone())
		return &InvalidError{Part: written, Why: "a zone is not part of an address",
			Fix: "leave %" + zone + " out and add --interface " + zone}
	case a.Is4In6():
		return &InvalidError{Part: written, Why: "an IPv4 address inside an IPv6 one",
			Fix: "write " + a.Unmap().String()}
	}
	return nil
}
