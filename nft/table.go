package nft

import (
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
	setTargets           = "targets"
)

// mark is the comment of each set and map of ours. A table `inet portmap` in which no set has it is somebody else's.
const mark = "made by portmap"

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// key is what the elements of a map or set are told apart by: the protocol and the port, behind an address of a family
// where one is named.
type key struct{ address rules.Families }

func (k key) datatype() nftables.SetDatatype {
	types := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	switch k.address {
	case rules.IPv4:
		types = append([]nftables.SetDatatype{nftables.TypeIPAddr}, types...)
	case rules.IPv6:
		types = append([]nftables.SetDatatype{nftables.TypeIP6Addr}, types...)
	}
	return nftables.MustConcatSetType(types...)
}

// text is the key as nft writes it, in a rule and, as types, in the declaration of the map.
func (k key) text() (rule, types string) {
	rule, types = "meta l4proto . th dport", "inet_proto . inet_service"
	switch k.address {
	case rules.IPv4:
		return "ip daddr . " + rule, "ipv4_addr . " + types
	case rules.IPv6:
		return "ip6 daddr . " + rule, "ipv6_addr . " + types
	}
	return rule, types
}
