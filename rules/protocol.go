package rules

import "net/netip"

// Protocols is a set of transport protocols.
type Protocols uint8

// The protocols that have ports and that netfilter translates for us.
const (
	TCP Protocols = 1 << iota
	UDP
)

// Has reports whether every protocol of q is in p.
func (p Protocols) Has(q Protocols) bool { return p&q == q }

// Each returns the protocols one by one, TCP first.
func (p Protocols) Each() []Protocols {
	each := make([]Protocols, 0, 2)
	for _, one := range [...]Protocols{TCP, UDP} {
		if p.Has(one) {
			each = append(each, one)
		}
	}
	return each
}

// Number returns the protocol number of the IP header: 6, 17, or 0 for both.
func (p Protocols) Number() uint8 {
	switch p {
	case TCP:
		return 6
	case UDP:
		return 17
	}
	return 0
}

// String returns "tcp", "udp" or "tcp,udp".
func (p Protocols) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case TCP | UDP:
		return "tcp,udp"
	}
	return ""
}

// Families is a set of address families.
type Families uint8

// The address families.
const (
	IPv4 Families = 1 << iota
	IPv6
	BothFamilies = IPv4 | IPv6 // what a mapping has that names no address and no family
)

// FamilyOf returns the family of an address, 0 for the zero address.
func FamilyOf(a netip.Addr) Families {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// Has reports whether every family of g is in f.
func (f Families) Has(g Families) bool { return f&g == g }

// String returns "IPv4", "IPv6" or "IPv4 and IPv6".
func (f Families) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	case BothFamilies:
		return "IPv4 and IPv6"
	}
	return "no family"
}

// Each returns the families one by one, IPv4 first.
func (f Families) Each() []Families {
	each := make([]Families, 0, 2)
	for _, one := range [...]Families{IPv4, IPv6} {
		if f.Has(one) {
			each = append(each, one)
		}
	}
	return each
}
