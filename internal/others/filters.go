package others

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"

	"portmap/rules"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Filters are the chains of others that packets to servers can meet. The zero Filters has none.
type Filters struct {
	hops    []hop
	uplinks map[rules.Families][]string // see Uplinks
}

// LookFilters reads them; none where there are too many rules. It needs CAP_NET_ADMIN.
func LookFilters(ctx context.Context) (f Filters, err error) {
	f.uplinks = map[rules.Families][]string{rules.IPv4: uplinks(rules.IPv4), rules.IPv6: uplinks(rules.IPv6)}
	all, err := chains()
	if err != nil {
		return f, err
	}
	reading := reading{chains: all, rules: map[chainName][]rule{}}
	var list []hop
	for _, base := range bases(all, chain.filters) {
		h := hop{hook: base.hook, early: base.hook == unix.NF_INET_PRE_ROUTING && base.priority < priorityOfIPTables,
			drops: base.drops}
		from := Rule{System: base.tool(), Table: base.String()}
		left := h.collect(walk{rules: reading.of(base.table), ours: "PORTMAP"}, base.name, from, base.families())
		if left || reading.left {
			return f, reading.err
		}
		list = append(list, h)
	}
	legacy, err := legacyHops(ctx)
	f.hops = slices.Concat(list, legacy)
	return f, errors.Join(reading.err, err)
}

// Uplinks returns the names of the interfaces by which a default route leads.
func (f *Filters) Uplinks(family rules.Families) []string { return f.uplinks[family] }

func uplinks(family rules.Families) (names []string) {
	number := map[rules.Families]int{rules.IPv4: unix.AF_INET, rules.IPv6: unix.AF_INET6}[family]
	routes, _ := vnetlink.RouteListFiltered(number, &vnetlink.Route{}, vnetlink.RT_FILTER_DST)
	for _, r := range routes {
		if link, err := vnetlink.LinkByIndex(r.LinkIndex); err == nil {
			names = append(names, link.Attrs().Name)
		}
	}
	return names
}

// meet yields the chains that a client's packet meets on its way to a server of the mapping, and the packet as it is
// there.
func (f *Filters) meet(p packet, m *rules.Mapping) iter.Seq2[*hop, packet] {
	mapped, hook := p.mapped(m)
	return func(yield func(*hop, packet) bool) {
		for i := range f.hops {
			h := &f.hops[i]
			met := mapped
			if h.early {
				met = p
			}
			if (h.hook == unix.NF_INET_PRE_ROUTING || h.hook == hook) && !yield(h, met) {
				return
			}
		}
	}
}

// filters reports whether packets to servers can be dropped in the chain.
func (c chain) filters() bool {
	return c.base && c.kind == "filter" && (c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_LOCAL_IN ||
		c.hook == unix.NF_INET_FORWARD)
}

// tool tells chains of iptables-nft, which have names in capitals, from others.
func (c chain) tool() System {
	if c.name == strings.ToUpper(c.name) && c.family != unix.NFPROTO_INET {
		return IPTables
	}
	return Tables
}

// collect follows the rules of the chain, and reports whether some were left out.
func (h *hop) collect(w walk, base string, from Rule, families rules.Families) (left bool) {
	w.visit = func(chain string, found rule) {
		if found.action == accept || found.action == drop {
			from.Chain, from.rule = chain, found
			from.Tool = toolOf(from)
			h.ends = append(h.ends, from)
		}
	}
	under := anyPacket()
	under.families = families
	w.from(base, under, 0)
	return w.steps > maxSteps
}

// legacyHops returns the chains of iptables-legacy.
func legacyHops(ctx context.Context) (list []hop, err error) {
	for _, program := range legacyPrograms() {
		names, _ := os.ReadFile("/proc/thread-self/net/" + program.tables)
		for _, table := range strings.Fields(string(names)) {
			bases := map[string][]string{
				"raw": {"PREROUTING"}, "mangle": {"PREROUTING"}, "filter": {"INPUT", "FORWARD"},
			}
			if bases[table] == nil {
				continue
			}
			chains, e := legacyRules(ctx, program.name, table)
			err = errors.Join(err, e)
			for _, base := range bases[table] {
				hook := map[string]uint32{"PREROUTING": unix.NF_INET_PRE_ROUTING, "INPUT": unix.NF_INET_LOCAL_IN,
					"FORWARD": unix.NF_INET_FORWARD}[base]
				_, drops := chains[dropPolicy(base)]
				h := hop{hook: hook, early: hook == unix.NF_INET_PRE_ROUTING, drops: drops}
				from := Rule{System: Legacy, Table: table + " of " + program.name}
				h.collect(walk{rules: func(chain string) []rule { return chains[chain] }, ours: "PORTMAP"}, base, from,
					program.families)
				list = append(list, h)
			}
		}
	}
	return list, err
}
