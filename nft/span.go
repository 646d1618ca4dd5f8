package nft

import "net/netip"

// span is a run of addresses, both ends included.
type span struct{ first, last netip.Addr }

// spansOf joins networks that touch: the kernel's interval sets know where a run begins and ends, and two runs
// that meet would begin and end at the same address.
func spansOf(networks []netip.Prefix) []span {
	var spans []span
	for _, n := range networks {
		s := span{n.Addr(), lastOf(n)}
		if k := len(spans); k > 0 && spans[k-1].last.Next() == s.first {
			spans[k-1].last = s.last
			continue
		}
		spans = append(spans, s)
	}
	return spans
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// prefix returns the network that the span is exactly, if it is one.
func (s span) prefix() (netip.Prefix, bool) {
	for bits := 0; bits <= s.first.BitLen(); bits++ {
		if p := netip.PrefixFrom(s.first, bits); p.Masked() == p && lastOf(p) == s.last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// text writes the span as nft lists it: one address, a network, or its two ends.
func (s span) text() string {
	if s.first == s.last {
		return s.first.String()
	}
	if p, ok := s.prefix(); ok {
		return p.String()
	}
	return s.first.String() + "-" + s.last.String()
}
