package others

import "portmap/rules"

// Shuts returns the rule that stops a mapping's clients who come in on an interface, and not the packets of a probe,
// which come in on another one; nil if there is none. A rule before it that accepts, and may have them, counts for all.
func (f *Filters) Shuts(m *rules.Mapping, family rules.Families, protocol rules.Protocols, iface string) *Rule {
	listen := m.ListenPorts().First
	p := packet{family: family, protocol: protocol, iface: iface, port: listen, listen: listen}
	for h, met := range f.meet(p, m) {
		if r := h.shuts(met); r != nil {
			return r
		}
	}
	return nil
}

func (h *hop) shuts(p packet) *Rule {
	for i := range h.ends {
		r := &h.ends[i]
		possible, certain := r.match.takes(p)
		names := r.match.ports != nil || r.match.original != nil || r.match.translated
		switch {
		case r.action == accept && (certain || possible && names):
			return nil
		case r.action == drop && certain && r.match.iface != "":
			return r
		case r.action == drop && certain: // which the probe meets, too
			return nil
		}
	}
	return nil
}
