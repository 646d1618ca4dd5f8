package others

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
)

// match is what a rule asks of a packet, together with all rules that lead to it.
type match struct {
	families   rules.Families
	protocols  rules.Protocols
	ports      []rules.Ports  // destination ports; nil: any
	to, from   []netip.Prefix // nil: any
	iface      string         // "": any
	translated bool           // its destination was changed by NAT
	original   []rules.Ports  // destination ports before that; nil: any
	own        bool           // a connection of this host itself
	sender     bool           // it asks where a packet comes from: the address, the interface
	receiver   bool           // it asks where one goes to
	limited    bool           // it takes only so many
	unread     bool           // it asks for more, which is not understood here
}

// any matches every packet that a mapping can claim.
func anyPacket() match {
	return match{families: rules.BothFamilies, protocols: rules.TCP | rules.UDP}
}

// and returns what both ask for, and whether there can be such a packet.
func (m match) and(n match) (both match, possible bool) {
	both = match{
		families: m.families & n.families, protocols: m.protocols & n.protocols,
		iface: m.iface, own: m.own || n.own, unread: m.unread || n.unread, translated: m.translated || n.translated,
		sender: m.sender || n.sender, receiver: m.receiver || n.receiver, limited: m.limited || n.limited,
	}
	if n.iface != "" {
		both.iface = n.iface
	}
	var ports, original, to, from bool
	both.ports, ports = intersect(m.ports, n.ports, commonPorts)
	both.original, original = intersect(m.original, n.original, commonPorts)
	both.to, to = intersect(m.to, n.to, commonNetwork)
	both.from, from = intersect(m.from, n.from, commonNetwork)
	sameInterface := m.iface == "" || n.iface == "" || m.iface == n.iface
	return both, ports && original && to && from && sameInterface && both.families != 0 && both.protocols != 0
}

// intersect returns what is in both lists; nil is everything.
func intersect[T any](a, b []T, common func(T, T) (T, bool)) (both []T, some bool) {
	switch {
	case a == nil:
		return b, true
	case b == nil:
		return a, true
	}
	for _, x := range a {
		for _, y := range b {
			if z, ok := common(x, y); ok {
				both = append(both, z)
			}
		}
	}
	return both, len(both) > 0
}

func commonPorts(a, b rules.Ports) (rules.Ports, bool) {
	return rules.Ports{First: max(a.First, b.First), Last: min(a.Last, b.Last)}, a.Overlaps(b)
}

func commonNetwork(a, b netip.Prefix) (netip.Prefix, bool) {
	both := a.Overlaps(b)
	if a.Bits() < b.Bits() {
		a = b
	}
	return a, both
}

// except returns all ports but some.
func except(ports rules.Ports) (rest []rules.Ports) {
	if ports.First > 0 {
		rest = append(rest, rules.Ports{First: 0, Last: ports.First - 1})
	}
	if ports.Last < 65535 {
		rest = append(rest, rules.Ports{First: ports.Last + 1, Last: 65535})
	}
	return rest
}

// meets returns the first listen port of a mapping for which there can be a packet of both. A match that names
// no port and is not understood whole meets nothing: it may be about something else.
func (m match) meets(mapping *rules.Mapping, isOwn func(netip.Prefix) bool) (port uint16, ok bool) {
	if m.ports == nil && m.unread || m.own && mapping.Interface() != "" {
		return 0, false
	}
	if m.ports != nil && !slices.ContainsFunc(m.ports, mapping.ListenPorts().Overlaps) {
		return 0, false // most rules are about another port
	}
	theirs := match{
		families: mapping.Families(), protocols: mapping.Protocols(), ports: []rules.Ports{mapping.ListenPorts()},
		from: mapping.Sources(), iface: mapping.Interface(),
	}
	if len(theirs.from) == 0 {
		theirs.from = nil
	}
	if listen := mapping.Listen(); listen.IsValid() {
		theirs.to = []netip.Prefix{netip.PrefixFrom(listen, listen.BitLen())}
	} else if m.to != nil && !slices.ContainsFunc(m.to, isOwn) {
		return 0, false
	}
	both, possible := m.and(theirs)
	if !possible {
		return 0, false
	}
	port = both.ports[0].First
	for _, p := range both.ports {
		port = min(port, p.First)
	}
	return port, true
}

// covers reports whether the match has all packets of a family and a protocol that a mapping and another match claim.
func (m match) covers(mapping *rules.Mapping, other match, family rules.Families, protocol rules.Protocols) bool {
	ports := mapping.ListenPorts()
	whole := func(p rules.Ports) bool { return p.First <= ports.First && ports.Last <= p.Last }
	listen := func(p netip.Prefix) bool { return p.Contains(mapping.Listen()) }
	senders := (m.iface == "" || m.iface == other.iface) && (m.from == nil || slices.Equal(m.from, other.from)) &&
		(m.iface != "" || m.from != nil || !m.sender)
	return senders && (m.to != nil || !m.receiver) && m.original == nil && !m.translated && !m.limited && !m.unread &&
		m.families.Has(family) && m.protocols.Has(protocol) &&
		(m.ports == nil || slices.ContainsFunc(m.ports, whole)) && (m.to == nil || slices.ContainsFunc(m.to, listen))
}

// text writes the match as nft would.
func (m match) text() string {
	var words []string
	if m.iface != "" {
		words = append(words, fmt.Sprintf("iifname %q", rules.Printable(m.iface)))
	}
	words = append(words, networks("saddr", m.from)...)
	words = append(words, networks("daddr", m.to)...)
	switch {
	case m.ports != nil:
		words = append(words, m.protocols.String(), "dport", set(m.ports))
	case m.protocols.Number() != 0:
		words = append(words, "meta l4proto", m.protocols.String())
	}
	return strings.Join(words, " ")
}

func networks(field string, list []netip.Prefix) []string {
	if len(list) == 0 {
		return nil
	}
	family := "ip"
	if list[0].Addr().Is6() {
		family = "ip6"
	}
	return []string{family, field, set(list)}
}

// set writes one value as it is, and several as a set.
func set[T fmt.Stringer](list []T) string {
	const most = 4
	var texts []string
	for i, item := range list {
		if i == most {
			texts = append(texts, "...")
			break
		}
		texts = append(texts, strings.TrimSuffix(strings.TrimSuffix(item.String(), "/32"), "/128"))
	}
	if len(texts) == 1 {
		return texts[0]
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// destinationText writes " to 172.17.0.2:443"; a zero address or zero ports stay as they are.
func destinationText(addr netip.Addr, ports rules.Ports) string {
	text := ""
	switch {
	case addr.Is6() && ports.First != 0:
		text = "[" + addr.String() + "]"
	case addr.IsValid():
		text = addr.String()
	}
	if ports.First != 0 {
		text += ":" + ports.String()
	}
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" to %s", text)
}
