package nft

import (
	"portmap/rules"

	"github.com/google/nftables"
)

const (
	tableName       = "portmap"
	chainPrerouting = "prerouting"
	chainOutput     = "output"
	chainMapped     = "mapped"
	chainTexts      = "texts"
)

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
		KeyType:       nftables.MustConcatSetType(key...),
		DataType:      nftables.TypeInetService,
	}
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

// baseChains are the two doors: nat chains see the first packet of a connection alone. The output hook has no symbolic
// priority in nft; -100 is NF_IP_PRI_NAT_DST (linux/netfilter_ipv4.h) in both.
func baseChains() []*nftables.Chain {
	priority := nftables.ChainPriorityNATDest
	policy := nftables.ChainPolicyAccept
	chain := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table(), Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority, Policy: &policy}
	}
	return []*nftables.Chain{
		chain(chainPrerouting, nftables.ChainHookPrerouting),
		chain(chainOutput, nftables.ChainHookOutput),
	}
}
