package others

import (
	"cmp"
	"encoding/binary"
	"errors"
	"sort"
	"strings"

	"portmap/internal/attribute"
	"portmap/rules"

	vnetlink "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// table is a table of nf_tables.
type table struct {
	family uint8
	name   string
}

// chain is a chain of nf_tables. Of a base chain the hook is set.
type chain struct {
	table
	name     string
	kind     string // "nat", "filter"
	base     bool
	hook     uint32
	priority int32
	drops    bool   // its policy
	uses     uint32 // rules in it, and jumps to it (nf_tables_api.c, struct nft_chain)
}

// conntrack is where connection tracking stands: NF_IP_PRI_CONNTRACK, linux/netfilter_ipv4.h. NAT needs it.
const conntrack = -200

// concerns reports whether packets to this host, or of its own, meet the chain where it can matter.
func (c chain) concerns() bool {
	return c.base && (c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_LOCAL_OUT) &&
		(c.kind == "nat" || c.kind == "filter" && c.priority < conntrack)
}

// ours reports whether the table is portmap's.
func (t table) ours() bool { return t.family == unix.NFPROTO_INET && t.name == "portmap" }

func (t table) String() string {
	family := map[uint8]string{unix.NFPROTO_IPV4: "ip ", unix.NFPROTO_IPV6: "ip6 ",
		unix.NFPROTO_INET: "inet "}[t.family]
	return family + t.name
}

func (t table) families() rules.Families {
	return map[uint8]rules.Families{
		unix.NFPROTO_IPV4: rules.IPv4, unix.NFPROTO_IPV6: rules.IPv6, unix.NFPROTO_INET: rules.BothFamilies,
	}[t.family]
}

// system tells the tables of iptables-nft from others.
func (c chain) system() System {
	switch c.String() {
	case "ip nat", "ip6 nat", "ip raw", "ip6 raw":
		if c.name == "PREROUTING" || c.name == "OUTPUT" {
			return IPTables
		}
	}
	return Tables
}

// tables looks through nf_tables.
func (r *Rules) tables() error {
	chains, err := chains()
	if err != nil {
		return err
	}
	reading := reading{chains: chains, rules: map[chainName][]rule{}}
	for _, base := range bases(chains, chain.concerns) {
		w := walk{rules: reading.of(base.table), ours: "PORTMAP"}
		w.visit = r.visitor(Rule{System: base.system(), Table: base.String(), Priority: int(base.priority)})
		if base.drops {
			w.visit(base.name, rule{match: anyPacket(), action: drop})
		}
		under := anyPacket()
		under.families, under.own = base.families(), base.hook == unix.NF_INET_LOCAL_OUT
		w.from(base.name, under, 0)
		r.left = r.left || reading.left || w.steps > maxSteps
	}
	for c := range chains {
		theirs := ToolOf(c.table.name, c.name, "") == "firewalld"
		r.strict = r.strict || theirs && strings.HasSuffix(c.name, "INPUT_dnat")
	}
	return errors.Join(reading.err, r.filters(chains))
}

// bases returns chains of others with which the ways of packets begin, in the order in which a packet meets them; at
// the same place IPv4 comes first.
func bases(chains map[chainName]chain, which func(chain) bool) (list []chain) {
	for _, c := range chains {
		if which(c) && !c.ours() {
			list = append(list, c)
		}
	}
	sort.Slice(list, func(i, k int) bool {
		a, b := list[i], list[k]
		return cmp.Or(cmp.Compare(a.hook, b.hook), cmp.Compare(a.priority, b.priority), cmp.Compare(a.family, b.family),
			cmp.Compare(a.table.name, b.table.name), cmp.Compare(a.name, b.name)) < 0
	})
	return list
}

type chainName struct {
	table
	name string
}

// reading is what was read of the rules so far: each chain once.
type reading struct {
	chains map[chainName]chain
	rules  map[chainName][]rule
	read   int
	left   bool // there were more rules than may be read
	err    error
}

// of returns the rules of a table's chains, one chain at a time. A chain with more than may still be read is left.
func (r *reading) of(t table) func(string) []rule {
	return func(name string) []rule {
		key := chainName{t, name}
		list, known := r.rules[key]
		uses := int(r.chains[key].uses)
		if r.left = r.left || r.read+uses > maxRules; known || uses == 0 || r.left {
			return list
		}
		r.read += uses
		list, err := rulesOf(key)
		r.err = errors.Join(r.err, err)
		r.rules[key] = list
		return list
	}
}

const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8

// dump asks for a list, and hands over the attributes of each message. A list that changed while it was read is
// as good as any: what is said of it is a hint.
func dump(family uint8, request, answer uint16, attributes []byte, each func(family uint8, attributes []byte)) error {
	req := nl.NewNetlinkRequest(subsystem|int(request), unix.NLM_F_DUMP)
	req.AddRawData(append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...)) // struct nfgenmsg
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, subsystem|answer, func(message []byte) bool {
		if len(message) >= 4 {
			each(message[0], message[4:])
		}
		return true
	})
	if errors.Is(err, vnetlink.ErrDumpInterrupted) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// chains lists the chains of all tables. A kernel without nf_tables has none.
func chains() (map[chainName]chain, error) {
	all := map[chainName]chain{}
	err := dump(unix.NFPROTO_UNSPEC, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_NEWCHAIN, nil, func(family uint8, b []byte) {
		c := chain{table: table{family: family}}
		attribute.Each(b, func(kind uint16, value []byte) {
			switch kind {
			case unix.NFTA_CHAIN_TABLE:
				c.table.name = unix.ByteSliceToString(value)
			case unix.NFTA_CHAIN_NAME:
				c.name = unix.ByteSliceToString(value)
			case unix.NFTA_CHAIN_TYPE:
				c.kind = unix.ByteSliceToString(value)
			case unix.NFTA_CHAIN_POLICY:
				c.drops = attribute.Uint32(value) == 0 // NF_DROP, linux/netfilter.h
			case unix.NFTA_CHAIN_USE:
				c.uses = attribute.Uint32(value)
			case unix.NFTA_CHAIN_HOOK:
				c.base = true
				attribute.Each(value, func(kind uint16, value []byte) {
					switch kind {
					case unix.NFTA_HOOK_HOOKNUM:
						c.hook = attribute.Uint32(value)
					case unix.NFTA_HOOK_PRIORITY:
						c.priority = int32(attribute.Uint32(value))
					}
				})
			}
		})
		if c.families() != 0 {
			all[chainName{c.table, c.name}] = c
		}
	})
	// nobody is there to take the message (nfnetlink.c, nfnetlink_rcv_msg; af_netlink.c, netlink_create)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) {
		err = nil
	}
	return all, err
}

func rulesOf(c chainName) (list []rule, err error) {
	request := nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(c.table.name)).Serialize()
	request = append(request, nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(c.name)).Serialize()...)
	err = dump(c.family, unix.NFT_MSG_GETRULE, unix.NFT_MSG_NEWRULE, request, func(_ uint8, b []byte) {
		var r rule
		var handle uint64
		attribute.Each(b, func(kind uint16, value []byte) {
			switch kind {
			case unix.NFTA_RULE_HANDLE:
				if len(value) == 8 {
					handle = binary.BigEndian.Uint64(value)
				}
			case unix.NFTA_RULE_EXPRESSIONS:
				r = decode(c.table, value)
			}
		})
		r.number = handle
		list = append(list, r)
		for _, branch := range r.branches {
			if both, possible := r.match.and(branch.match); possible {
				branch.match, branch.number = both, handle
				list = append(list, branch)
			}
		}
	})
	return list, err
}

// key is an element of a set: of an interval set the first of a run, or with end the first behind one.
type key struct {
	value   []byte
	end     bool
	decides []byte // attributes of the verdict that a map has for it
}

// verdict sets what a map does to packets of a key.
func (k key) verdict(r *rule) {
	attribute.Each(k.decides, func(kind uint16, value []byte) {
		switch {
		case kind == unix.NFTA_VERDICT_CHAIN:
			r.jump = unix.ByteSliceToString(value)
		case kind == unix.NFTA_VERDICT_CODE && attribute.Uint32(value) == 1: // NF_ACCEPT, linux/netfilter.h
			r.action = accept
		case kind == unix.NFTA_VERDICT_CODE && attribute.Uint32(value) == 0: // NF_DROP
			r.action, r.to = drop, "drop"
		}
	})
}

// maxElements is how many elements of a set are looked at.
const maxElements = 1000

// elements returns the keys of a set, and whether these are all.
func elements(t table, set string) (keys []key, all bool) {
	request := nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_TABLE, nl.ZeroTerminated(t.name)).Serialize()
	request = append(request, nl.NewRtAttr(unix.NFTA_SET_ELEM_LIST_SET, nl.ZeroTerminated(set)).Serialize()...)
	all = true
	err := dump(t.family, unix.NFT_MSG_GETSETELEM, unix.NFT_MSG_NEWSETELEM, request, func(_ uint8, b []byte) {
		attribute.Each(b, func(kind uint16, list []byte) {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				return
			}
			attribute.Each(list, func(_ uint16, element []byte) {
				if all = all && len(keys) < maxElements; all {
					keys = append(keys, keyOf(element))
				}
			})
		})
	})
	return keys, all && err == nil
}

func keyOf(element []byte) (k key) {
	attribute.Each(element, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			attribute.Each(value, func(_ uint16, v []byte) { k.value = v })
		case unix.NFTA_SET_ELEM_FLAGS:
			k.end = attribute.Uint32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_DATA:
			attribute.Each(value, func(kind uint16, verdict []byte) {
				if kind == unix.NFTA_DATA_VERDICT {
					k.decides = verdict
				}
			})
		}
	})
	return k
}
