package others

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"portmap/rules"
)

// Place is a rule, or the end of a base chain, where its policy decides.
type Place struct {
	System System
	Family byte   // of the table: unix.NFPROTO_IPV4 and so on
	Table  string // its name alone
	Chain  string
	Number uint64 // the handle of the rule in nf_tables, its place in the chain in iptables-legacy; 0: the policy
}

// Clients are those whose packets a place stopped: of a mapping, at the ports that they had there.
type Clients struct {
	Mapping  rules.Mapping
	Family   rules.Families
	Protocol rules.Protocols
	Ports    rules.Ports
	To       []netip.Addr // the addresses that the packets may have had there
	Answer   bool         // the packets were on their way to the clients
	Comes    string       // the interface on which most clients come: that with the address
}

// Apart says how rules tell clients apart, so that what became of one says nothing of others.
type Apart struct {
	Stopped bool   // the rule that stopped one, or a rule that led to it, asks who the client is, or how many there are
	Lets    *Place // a rule before it that lets in certain clients; or nil
	Text    string // of that rule, as nft would write it
}

// Chains keeps the rules that were read: many packets are stopped at one place. The zero Chains is ready.
type Chains struct{ read map[string]*chainsOf }

// chainsOf are the chains of a table: those with a hook, those of them that drop what none of their rules accepts, and
// what gives the rules of each.
type chainsOf struct {
	bases []string
	drops map[string]bool
	rules func(chain string) []rule
}

// Tell looks for rules that tell clients apart by their addresses, interfaces or number, up to where packets were
// stopped. A rule lets in clients of the mapping if it names the port, or the interface on which they come: others are
// for hosts that are trusted with all ports, and clients are rarely among them. It needs CAP_NET_ADMIN.
func (k *Chains) Tell(ctx context.Context, at Place, c Clients) (apart Apart, err error) {
	of, err := k.of(ctx, at, c.Family)
	if err != nil {
		return apart, err
	}
	for _, base := range of.bases {
		var lets *Place
		var end *rule            // which stopped the packet
		opens := !of.drops[base] // whether others can pass behind it
		w := walk{rules: of.rules, every: true}
		w.visit = func(chain string, r rule) {
			passes := r.action == accept || r.action == leave && chain == at.Chain // else another chain can still stop
			switch {
			case end == nil && chain == at.Chain && r.number == at.Number:
				end = &r
			case !passes:
			case end != nil:
				opens = opens || r.match.has(&c)
			case lets == nil && r.match.tellsApart(&c):
				lets = &Place{at.System, at.Family, at.Table, chain, r.number}
				apart.Text = r.match.text() + " accept"
			}
		}
		under := anyPacket()
		under.families, under.protocols = c.Family, c.Protocol
		w.from(base, under, 0)
		if at.Number == 0 && base == at.Chain || end != nil { // packets came this way
			apart.Lets = lets
			apart.Stopped = end != nil && end.match.chooses(c.Answer) && opens
			break
		}
	}
	return apart, err
}

// of returns the chains of a table. Those of iptables-legacy belong to one family.
func (k *Chains) of(ctx context.Context, at Place, family rules.Families) (*chainsOf, error) {
	key := fmt.Sprint(at.System, at.Family, family, at.Table)
	if of := k.read[key]; of != nil {
		return of, nil
	}
	of := &chainsOf{drops: map[string]bool{}}
	if at.System == Legacy {
		program := map[rules.Families]string{rules.IPv4: "iptables-legacy", rules.IPv6: "ip6tables-legacy"}[family]
		chains, err := legacyRules(ctx, program, at.Table)
		if err != nil {
			return nil, err
		}
		of.bases = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
		for _, base := range of.bases {
			_, of.drops[base] = chains[dropPolicy(base)]
		}
		of.rules = func(chain string) []rule { return chains[chain] }
	} else {
		all, err := chains()
		if err != nil {
			return nil, err
		}
		t := table{at.Family, at.Table}
		for _, c := range all {
			if c.base && c.table == t {
				of.bases = append(of.bases, c.name)
				of.drops[c.name] = c.drops
			}
		}
		read := reading{chains: all, rules: map[chainName][]rule{}}
		of.rules = read.of(t)
	}
	if k.read == nil {
		k.read = map[string]*chainsOf{}
	}
	k.read[key] = of
	return of, nil
}

// chooses reports whether a match depends on the client, or for answers on where they go; or on how many there are.
func (m match) chooses(answer bool) bool {
	return m.limited || !answer && m.sender || answer && m.receiver
}

func (c *Clients) goTo(network netip.Prefix) bool { return slices.ContainsFunc(c.To, network.Contains) }

// tellsApart reports whether a match has clients of the mapping, and not all of them.
func (m match) tellsApart(c *Clients) bool {
	names := m.ports != nil || m.original != nil || m.translated || m.iface != "" && !m.unread || m.limited
	return m.chooses(c.Answer) && m.has(c) && (names || c.Answer)
}

// has reports whether a match can have clients of the mapping, as far as it is understood.
func (m match) has(c *Clients) bool {
	overlaps := func(list []rules.Ports, ports rules.Ports) bool {
		return list == nil || slices.ContainsFunc(list, ports.Overlaps)
	}
	switch {
	case m.iface != "" && m.iface != c.Comes:
		return false
	case c.Answer:
		return m.ports == nil // of a client's port nothing is known
	}
	return (m.to == nil || slices.ContainsFunc(m.to, c.goTo)) && overlaps(m.ports, c.Ports) &&
		overlaps(m.original, c.Mapping.ListenPorts())
}
