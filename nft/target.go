package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"portmap/rules"
	"portmap/rules/facts"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Targets that have an address.

// addressType is the type of the addresses of a family.
func addressType(f rules.Families) nftables.SetDatatype {
	if f == rules.IPv4 {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

// dataType is what a map leads to: a port, behind an address of a family where targets have one.
func dataType(address rules.Families) nftables.SetDatatype {
	if address == 0 {
		return nftables.TypeInetService
	}
	return nftables.MustConcatSetType(addressType(address), nftables.TypeInetService)
}

// dataTypeText is [dataType] as nft writes it.
func dataTypeText(address rules.Families) string {
	switch address {
	case rules.IPv4:
		return "ipv4_addr . inet_service"
	case rules.IPv6:
		return "ipv6_addr . inet_service"
	}
	return "inet_service"
}

// dataBytes is a target as data of a map. Without an address it is the port alone.
func dataBytes(address netip.Addr, port uint16) []byte {
	if !address.IsValid() {
		return portBytes(port)
	}
	return append(binary.BigEndian.AppendUint16(address.AsSlice(), port), 0, 0)
}

// dataText is data of a map as nft writes it.
func dataText(data []byte) string {
	const port = 4 // bytes, with the padding behind an address
	if len(data) < port {
		return fmt.Sprint(binary.BigEndian.Uint16(data))
	}
	a, _ := netip.AddrFromSlice(data[:len(data)-port])
	return fmt.Sprintf("%s . %d", a, binary.BigEndian.Uint16(data[len(data)-port:]))
}

// mappingRules returns the rules of a mapping in the chain `mapped`: those of one with --source or --interface.
func mappingRules(m *rules.Mapping) []*rule {
	if !facts.Restricted(m) {
		return nil
	}
	return translations(chainMapped, m)
}

// translations returns the rules that translate what clients of a mapping send, but for families that a map has.
func translations(chain string, m *rules.Mapping) []*rule {
	var list []*rule
	for _, clients := range clientsOf(m) {
		if !facts.Restricted(m) && len(facts.TargetsIn(m, clients.families)) == 1 {
			continue
		}
		ports := m.ListenPorts()
		for first := int(ports.First); first <= int(ports.Last); first += perRule {
			last := min(first+perRule-1, int(ports.Last))
			some := rules.Ports{First: uint16(first), Last: uint16(last)}
			list = append(list, translating(chain, m, clients, some)...)
		}
	}
	return list
}

// clients are sources of one family, or all clients of some families.
type clients struct {
	families rules.Families
	sources  []netip.Prefix
}

// clientsOf cuts the clients of a mapping into groups that one rule can name. Where targets have addresses, each group
// is of one family.
func clientsOf(m *rules.Mapping) (list []clients) {
	for _, sources := range sourceGroups(m) {
		switch {
		case len(sources) > 0:
			list = append(list, clients{rules.FamilyOf(sources[0].Addr()), sources})
		case len(facts.LocalTargets(m)) > 0 && !m.Sticky():
			list = append(list, clients{families: m.Families()})
		default:
			for _, f := range m.Families().Each() {
				list = append(list, clients{families: f})
			}
		}
	}
	return list
}

// translating returns the rules that send some ports of a mapping to its targets: one a target, since each port of a
// range has a target of its own. Of several each takes its share of the connections that reach it.
func translating(chain string, m *rules.Mapping, c clients, ports rules.Ports) []*rule {
	var list []*rule
	targets := facts.TargetsIn(m, c.families)
	for i, t := range targets {
		r := newRule(chain, label(m)).restrict(m, c)
		if t.Remote() && !m.Listen().IsValid() {
			r.fromAfar(c.families)
		}
		r.protocol(m.Protocols()).toPorts(ports)
		switch left := len(targets) - i; {
		case left == 1: // all that reaches it
		case m.Sticky():
			r.hashedTo(c.families, i, len(targets))
		default:
			r.everyNth(left)
		}
		r.count()
		to := t.Ports.First + (ports.First - m.ListenPorts().First)
		if ports.Count() == 1 {
			list = append(list, r.dnatTo(t.Addr, to))
		} else {
			list = append(list, r.dnatShifted(ports, t.Addr, to))
		}
	}
	return list
}

// fromAfar matches packets that can leave for another host: not those to a loopback address, since they come from one.
// Without a family it matches all.
func (r *rule) fromAfar(f rules.Families) *rule {
	switch f {
	case rules.IPv4:
		return r.notTo("ip daddr != 127.0.0.0/8", destinationField(f, regFirst), []byte{127})
	case rules.IPv6:
		return r.notTo("ip6 daddr != ::1", destinationField(f, regFirst), netip.IPv6Loopback().AsSlice())
	}
	return r
}

// notTo matches packets that have another value at the beginning of a field.
func (r *rule) notTo(text string, field *expr.Payload, first []byte) *rule {
	field.Len = uint32(len(first))
	return r.add(text, field, &expr.Cmp{Op: expr.CmpOpNeq, Register: regFirst, Data: first})
}

// dnatAddress changes destination address and port to what stands in the registers from the first one on.
func dnatAddress(f rules.Families) *expr.NAT {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(familyNumber(f)), RegAddrMin: regFirst,
		RegProtoMin: portBehind(f)}
}

// portBehind is the register behind an address that begins in the first one.
func portBehind(f rules.Families) uint32 {
	if f == rules.IPv4 {
		return regKey + 1
	}
	return regKey + 4
}

// dnatTo sends the connection to one port: of the address, or of the one that the packet has.
func (r *rule) dnatTo(address netip.Addr, port uint16) *rule {
	if !address.IsValid() {
		return r.add(fmt.Sprintf("dnat to :%d", port),
			&expr.Immediate{Register: regFirst, Data: portBytes(port)}, dnat(regFirst))
	}
	f := rules.FamilyOf(address)
	return r.add(fmt.Sprintf("dnat %s to %s", addrWord(f), netip.AddrPortFrom(address, port)),
		&expr.Immediate{Register: regFirst, Data: address.AsSlice()},
		&expr.Immediate{Register: portBehind(f), Data: portBytes(port)}, dnatAddress(f))
}

// dnatShifted sends each of the ports to its own target: N to N.
func (r *rule) dnatShifted(listen rules.Ports, address netip.Addr, target uint16) *rule {
	var f rules.Families
	translate, word := dnat(regFirst), "dnat to :th dport"
	if address.IsValid() {
		f = rules.FamilyOf(address)
		translate, word = dnatAddress(f), fmt.Sprintf("dnat %s to th dport", addrWord(f))
	}
	shifted := anonymous{
		set: &nftables.Set{
			Table: table(), Anonymous: true, Constant: true, IsMap: true,
			KeyType: nftables.TypeInetService, DataType: dataType(f),
		},
		lookup: &expr.Lookup{SourceRegister: regFirst, DestRegister: regFirst, IsDestRegSet: true},
	}
	texts := make([]string, 0, listen.Count())
	for i := range listen.Count() {
		from, to := listen.First+uint16(i), dataBytes(address, target+uint16(i))
		shifted.elements = append(shifted.elements, nftables.SetElement{Key: portBytes(from), Val: to})
		texts = append(texts, fmt.Sprintf("%d : %s", from, dataText(to)))
	}
	r.sets = append(r.sets, shifted)
	return r.add(fmt.Sprintf("%s map { %s }", word, strings.Join(texts, ", ")),
		portField(regFirst), shifted.lookup, translate)
}

// dnatLookup sends the connection to what the map has for it. If it has nothing, the next rule is tried.
func (r *rule) dnatLookup(p portMap) *rule {
	text, _ := p.key.text()
	found := &expr.Lookup{SourceRegister: regFirst, SetName: p.name, DestRegister: regFirst, IsDestRegSet: true}
	f := p.addresses()
	if f == 0 {
		return r.add(fmt.Sprintf("dnat to :%s map @%s", text, p.name),
			append(p.key.load(), found, dnat(found.DestRegister))...)
	}
	return r.add(fmt.Sprintf("dnat %s to %s map @%s", addrWord(f), text, p.name),
		append(p.key.load(), found, dnatAddress(f))...)
}
