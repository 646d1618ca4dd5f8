package nft

import (
	"fmt"

	"portmap/rules"

	"github.com/google/nftables"
)

const (
	tableName            = "portmap"
	chainPrerouting      = "prerouting"
	chainOutput          = "output"
	chainGuardPrerouting = "guard_prerouting"
	chainGuardOutput     = "guard_output"
	chainMapped          = "mapped"
	chainInvalid         = "invalid"
	chainTexts           = "texts"
)

// mark is the comment of each set and map of ours. A table `inet portmap` in which no set carries it is
// somebody else's.
const mark = "made by portmap"

// chain is one chain of the table. A base chain has a hook, a type and a priority, and accepts what its rules let pass.
type chain struct {
	name     string
	kind     nftables.ChainType  // empty for a chain that is only jumped to
	hook     *nftables.ChainHook // nil likewise
	hookName string
	priority nftables.ChainPriority
	text     string // the priority as nft lists it
}

// Priorities of the base chains. Of several nat chains the first one that translates a connection decides
// (nf_nat_core.c, nf_nat_inet_fn), and of two with one priority the order is that of their making. So ours
// stand one before the usual place, -100 (linux/netfilter_ipv4.h, NF_IP_PRI_NAT_DST): the same chain wins in
// every order of starting. The guards stand behind connection tracking (-200), which must have judged a segment
// before they look at it.
const (
	natPriority   nftables.ChainPriority = -101
	guardPriority nftables.ChainPriority = -150
)

// chains lists the chains of the table. Those that are jumped to come first.
func chains() []chain {
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	return []chain{
		{name: chainTexts},
		{name: chainMapped},
		{name: chainInvalid},
		{chainGuardPrerouting, filter, nftables.ChainHookPrerouting, "prerouting", guardPriority, "mangle"},
		{chainGuardOutput, filter, nftables.ChainHookOutput, "output", guardPriority, "mangle"},
		{chainPrerouting, nat, nftables.ChainHookPrerouting, "prerouting", natPriority, "dstnat - 1"},
		{chainOutput, nat, nftables.ChainHookOutput, "output", natPriority, "-101"}, // the hook has no symbolic name in nft
	}
}

// object returns the nf_tables chain.
func (c chain) object() *nftables.Chain {
	if c.hook == nil {
		return &nftables.Chain{Name: c.name, Table: table()}
	}
	policy := nftables.ChainPolicyAccept
	return &nftables.Chain{
		Name: c.name, Table: table(), Type: c.kind, Hooknum: c.hook, Priority: &c.priority, Policy: &policy,
	}
}

// line is the declaration of a base chain as nft writes it.
func (c chain) line() string {
	return fmt.Sprintf("type %s hook %s priority %s; policy accept;", c.kind, c.hookName, c.text)
}

// portMap is one map of the table: from what a packet is addressed to, to the server's port.
type portMap struct {
	name     string
	comment  string // of the rule that looks a packet up
	families rules.Families
	address  bool // keyed by the listen address, too
}

const mapCount = 5

// maps are in the order in which a packet meets them. No packet is in two of them: a Set sees to that.
func maps() [mapCount]portMap {
	return [...]portMap{
		{name: "ports", comment: "every address, IPv4 and IPv6", families: rules.BothFamilies},
		{name: "ports4", comment: "every address, IPv4 only", families: rules.IPv4},
		{name: "ports6", comment: "every address, IPv6 only", families: rules.IPv6},
		{name: "addr4", comment: "one IPv4 address", families: rules.IPv4, address: true},
		{name: "addr6", comment: "one IPv6 address", families: rules.IPv6, address: true},
	}
}

// mapOf returns which of the maps holds a mapping that is not restricted.
func mapOf(m *rules.Mapping) int {
	switch {
	case m.Listen().Is4():
		return 3
	case m.Listen().IsValid():
		return 4
	case m.Families() == rules.IPv4:
		return 1
	case m.Families() == rules.IPv6:
		return 2
	}
	return 0
}

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// set returns the nf_tables map. Its counter is cloned into each element (NFTA_SET_EXPRESSIONS, Linux 5.11).
func (p portMap) set() *nftables.Set {
	key := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	switch {
	case p.address && p.families == rules.IPv4:
		key = append([]nftables.SetDatatype{nftables.TypeIPAddr}, key...)
	case p.address:
		key = append([]nftables.SetDatatype{nftables.TypeIP6Addr}, key...)
	}
	return &nftables.Set{
		Table:         table(),
		Name:          p.name,
		IsMap:         true,
		Concatenation: true,
		Counter:       true,
		Comment:       mark,
		KeyType:       nftables.MustConcatSetType(key...),
		DataType:      nftables.TypeInetService,
	}
}

// tcpSet returns the set of the map's keys for TCP, without counters: the guards look invalid segments up in
// it, and a lookup in the map would count them as connections. See invalid.go.
func (p portMap) tcpSet() *nftables.Set {
	return &nftables.Set{
		Table:         table(),
		Name:          "tcp_" + p.name,
		Concatenation: true,
		Comment:       mark,
		KeyType:       p.set().KeyType,
	}
}

// targetsName is the set of the target ports of mappings for TCP. See invalid.go.
const targetsName = "targets"

// targetSet returns the nf_tables set. With the protocol in its key it has the elements' form of the maps, and
// the kernel takes a hash for it; with the port alone it would take a bitmap, whose elements are looked up one
// by one when they are added (nft_set_bitmap.c, nft_bitmap_elem_find).
func targetSet() *nftables.Set {
	return &nftables.Set{
		Table:         table(),
		Name:          targetsName,
		Concatenation: true,
		Comment:       mark,
		KeyType:       nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService),
	}
}

// sets lists the sets and maps of the table.
func sets() []*nftables.Set {
	list := []*nftables.Set{targetSet()}
	for _, p := range maps() {
		list = append(list, p.set(), p.tcpSet())
	}
	return list
}

// keyText is the key as nft writes it, in a rule and, as types, in the declaration of the map.
func (p portMap) keyText() (rule, types string) {
	rule, types = "meta l4proto . th dport", "inet_proto . inet_service"
	switch {
	case p.address && p.families == rules.IPv4:
		return "ip daddr . " + rule, "ipv4_addr . " + types
	case p.address:
		return "ip6 daddr . " + rule, "ipv6_addr . " + types
	}
	return rule, types
}
