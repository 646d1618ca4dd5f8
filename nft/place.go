package nft

import (
	"fmt"
	"slices"

	"portmap/rules"

	"github.com/google/nftables"
)

// place is a map, a set or a chain of the table, with what a mapping has in it. A mapping may have objects in several
// places. It is live if all of them are there.
type place struct {
	name string
	kind kind
	hook hook           // of a base chain; the zero value for a chain that is only jumped to
	key  key            // of a map or set
	data rules.Families // of the address to which a map leads; 0 if it leads to a port of this host

	verdicts bool // the map leads to chains

	// elements appends what a mapping has in a map or set. In a map each element has the mapping's label as its
	// comment and, unless it leads to a chain, a counter; in a set it has neither. nil in a chain.
	elements func([]keyRange, *rules.Mapping) []keyRange

	// shared is for a set in which several mappings may have the same element. It goes with the last of them.
	shared bool
	// lingers reports whether an element of a shared set may be one that was left when its last mapping went. nil if
	// there must be none.
	lingers func(element) bool

	// always returns the rules that are in a chain without any mapping, in order; nil for none.
	always func() []*rule
	// rules returns the rules of a mapping in a chain; nil for a chain that has none.
	rules func(*rules.Mapping) []*rule
}

type kind uint8

const (
	isMap kind = iota
	isSet
	isChain
	isChains // one for each of some mappings; the name of the place begins those of the chains
)

func (k kind) String() string { return [...]string{"map", "set", "chain", "chain"}[k] }

// objects is what stands in a place of this kind.
func (k kind) objects() string { return [...]string{"elements", "elements", "rules", "rules"}[k] }

// hook is where a base chain meets packets. A base chain accepts what its rules let pass.
type hook struct {
	kind     nftables.ChainType
	at       *nftables.ChainHook
	name     string
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

	loopbackPriority nftables.ChainPriority = -300 // before connection tracking (NF_IP_PRI_RAW)

	masqueradePriority nftables.ChainPriority = 99 // one before the usual place (NF_IP_PRI_NAT_SRC)
)

// places is the table of all maps, sets and chains. Everything that writes, reads or compares the kernel's table goes
// over it. A chain stands behind those to which it jumps; only maps lead to the last ones.
func places() []place {
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	prerouting, input, output := nftables.ChainHookPrerouting, nftables.ChainHookInput, nftables.ChainHookOutput
	list := []place{
		{name: setTargets, kind: isSet, elements: tcpTargets, shared: true, lingers: isTCPElement},
	}
	for _, m := range maps() {
		list = append(list,
			place{name: m.name, kind: isMap, key: m.key, data: m.addresses(), verdicts: m.leads == toChain,
				elements: m.elements},
			place{name: m.tcpSet(), kind: isSet, key: m.key, elements: m.tcpElements})
	}
	for _, s := range masqueradeSets() {
		list = append(list, place{name: s.name, kind: isSet, key: s.key, elements: s.elements, shared: true,
			lingers: isAny})
	}
	for _, s := range serverSets() {
		list = append(list, place{name: s.name, kind: isSet, key: s.key, elements: s.elements, shared: true,
			lingers: isAny})
	}
	for _, s := range guardSets() {
		list = append(list, place{name: s.name, kind: isSet, key: s.key, elements: s.elements, shared: true})
	}
	return append(list,
		place{name: chainTexts, kind: isChain, rules: texts},
		place{name: chainMapped, kind: isChain, always: lookups, rules: mappingRules},
		place{name: chainInvalid, kind: isChain, always: dropMapped, rules: dropRestricted},
		place{name: chainOwner, kind: isChain, always: dropOthers},
		place{name: chainRefuse, kind: isChain, always: refuseDirect},
		place{name: chainGuardInput, kind: isChain, always: hideTargets,
			hook: hook{filter, input, "input", guardPriority, "mangle"}},
		place{name: chainGuardPrerouting, kind: isChain, always: guardArriving,
			hook: hook{filter, prerouting, "prerouting", guardPriority, "mangle"}},
		place{name: chainGuardOutput, kind: isChain, always: guardLeaving,
			hook: hook{filter, output, "output", guardPriority, "mangle"}},
		place{name: chainPrerouting, kind: isChain, always: toMappedArriving,
			hook: hook{nat, prerouting, "prerouting", natPriority, "dstnat - 1"}},
		place{name: chainLoopback, kind: isChain, rules: dropLoopback},
		place{name: chainGuardLoopback, kind: isChain, always: closeLoopback,
			hook: hook{filter, prerouting, "prerouting", loopbackPriority, "raw"}},
		place{name: chainRemote, kind: isChain, always: masqueradeLookups},
		place{name: chainPostrouting, kind: isChain, always: toRemote,
			hook: hook{nat, nftables.ChainHookPostrouting, "postrouting", masqueradePriority, "srcnat - 1"}},
		place{name: chainOutput, kind: isChain, always: toMappedLeaving,
			// nft has no symbolic name for a priority of this hook
			hook: hook{nat, output, "output", natPriority, "-101"}},
		place{name: spreadPrefix, kind: isChains, rules: spreadRules})
}

// sets returns the places that are maps and sets, chains those that are a chain, and withRules all places of rules.
func sets() []place {
	return slices.DeleteFunc(places(), func(p place) bool { return p.kind >= isChain })
}

func chains() []place {
	return slices.DeleteFunc(places(), func(p place) bool { return p.kind != isChain })
}

func withRules() []place {
	return slices.DeleteFunc(places(), func(p place) bool { return p.kind < isChain })
}

// set returns the nf_tables map or set.
//
// The counter of a map is cloned into each element (NFTA_SET_EXPRESSIONS, Linux 5.11). Each key has the protocol in it,
// also where it is always TCP: for a key of the port alone the kernel takes a bitmap, whose elements are looked up one
// by one when they are added (nft_set_bitmap.c, nft_bitmap_elem_find).
func (p *place) set() *nftables.Set {
	s := &nftables.Set{
		Table: table(), Name: p.name, Concatenation: true, Comment: mark, KeyType: p.key.datatype(),
	}
	if p.kind == isMap {
		s.IsMap, s.Counter, s.DataType = true, !p.verdicts, dataType(p.data)
	}
	if p.verdicts {
		s.DataType = nftables.TypeVerdict
	}
	return s
}

// chain returns the nf_tables chain.
func (p *place) chain() *nftables.Chain {
	c := &nftables.Chain{Name: p.name, Table: table()}
	if p.hook.at != nil {
		policy := nftables.ChainPolicyAccept
		c.Type, c.Hooknum, c.Priority, c.Policy = p.hook.kind, p.hook.at, &p.hook.priority, &policy
	}
	return c
}

// line is the declaration of a base chain as nft writes it.
func (h hook) line() string {
	return fmt.Sprintf("type %s hook %s priority %s; policy accept;", h.kind, h.name, h.text)
}

// fixed returns the rules that are in the chain without any mapping, in order.
func (p *place) fixed() []*rule {
	if p.always == nil {
		return nil
	}
	return p.always()
}

// fixedRules returns the rules that are there without any mapping, by chain.
func fixedRules() map[string][]*rule {
	byChain := map[string][]*rule{}
	for _, c := range withRules() {
		byChain[c.name] = c.fixed()
	}
	return byChain
}
