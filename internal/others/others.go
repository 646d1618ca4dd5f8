package others

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	"portmap/rules"
)

// System is where rules are: of several, each has an order of its own.
type System int

// The systems.
const (
	Tables   System = iota // a table of nf_tables that one tool made for itself
	IPTables               // the tables of iptables-nft
	Legacy                 // the tables of iptables-legacy
)

// Rule is a rule of another tool that acts on packets.
type Rule struct {
	System   System
	Table    string // "ip nat"; of iptables-legacy "nat of iptables-legacy"
	Chain    string
	Tool     string // whose rule it is; empty where that is not known
	Priority int    // of the chain with which the way to it begins
	Untracks bool   // it keeps packets out of connection tracking; else it translates their destination
	rule
	exempt []match  // what the chain accepts before it
	drops  *[]match // what the chain drops, before it or behind
}

// Text writes the rule with all that leads to it, as nft would: "tcp dport 443 dnat to 172.17.0.2:443".
func (r Rule) Text() string { return strings.TrimSpace(r.match.text() + " " + r.to) }

// Rules are the rules that a look has found.
type Rules struct {
	mappings []rules.Mapping // that are asked about
	list     []Rule
	left     bool // some rules of others were not read
	drops    []Drop
	strict   bool // firewalld lets in only what it forwards itself
	back     []back
	own      []netip.Addr // addresses of this host, once they were needed
}

// Look reads the rules of others in this network namespace, and keeps those that act on packets of the
// mappings. It needs CAP_NET_ADMIN. With an error some may be missing.
func Look(ctx context.Context, mappings []rules.Mapping) (Rules, error) {
	found := Rules{mappings: mappings}
	err := errors.Join(found.tables(), found.legacy(ctx))
	return found, err
}

// Met is a rule that acts on packets of a mapping, and the first of its ports that concerns.
type Met struct {
	Rule
	Port uint16
}

// Meet returns the rules that act on packets that a mapping claims.
func (r *Rules) Meet(m rules.Mapping) (met []Met) {
	for _, other := range r.list {
		if port, ok := other.match.meets(&m, r.isOwn); ok && !other.exempts(&m) {
			met = append(met, Met{other, port})
		}
	}
	return met
}

// exempts reports whether the chain accepts all packets of a mapping before they meet the rule.
func (r *Rule) exempts(m *rules.Mapping) bool {
	for _, family := range (m.Families() & r.match.families).Each() {
		for _, protocol := range (m.Protocols() & r.match.protocols).Each() {
			if !slices.ContainsFunc(r.exempt, func(a match) bool { return a.covers(m, r.match, family, protocol) }) {
				return false
			}
		}
	}
	return true
}

// visitor adds each rule of a walk that begins with a chain; from says where that is.
func (r *Rules) visitor(from Rule) func(chain string, found rule) {
	from.drops = new([]match)
	return func(chain string, found rule) {
		switch {
		case found.action == drop, found.to == someOf: // which can drop the others
			*from.drops = append(*from.drops, found.match)
		case found.action == accept:
			from.exempt = append(from.exempt, found.match)
		}
		from.Chain, from.rule = chain, found
		r.add(from)
	}
}

// add keeps a rule that concerns a mapping, once: chains for packets from outside and for this host's own often
// lead to the same rule.
func (r *Rules) add(other Rule) {
	if other.action == accept || other.action == leave || other.action == drop {
		return
	}
	for i := range r.mappings {
		if target, listen, ok := other.leadsBack(&r.mappings[i]); ok {
			r.back = append(r.back, back{other, r.mappings[i], target, listen})
		}
	}
	meets := func(m rules.Mapping) bool { _, ok := other.match.meets(&m, r.isOwn); return ok }
	if !slices.ContainsFunc(r.mappings, meets) {
		return
	}
	other.Untracks = other.action == untrack
	other.Tool = toolOf(other)
	i := slices.IndexFunc(r.list, func(old Rule) bool {
		return old.Table == other.Table && old.Chain == other.Chain && old.Text() == other.Text() &&
			old.Priority == other.Priority
	})
	if i < 0 {
		r.list = append(r.list, other)
	} else if !other.match.own {
		r.list[i].match.own = false
	}
}

// isOwn reports whether some address of a network is one of this host.
func (r *Rules) isOwn(network netip.Prefix) bool {
	if r.own == nil {
		r.own = ownAddresses()
	}
	if loopback := netip.MustParsePrefix("127.0.0.0/8"); network.Overlaps(loopback) {
		return true
	}
	return slices.ContainsFunc(r.own, network.Contains)
}

func ownAddresses() (own []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, prefix.Addr())
		}
	}
	return own
}
