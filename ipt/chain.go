package ipt

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// table is a table of iptables that holds chains of ours.
type table string

const (
	nat    table = "nat"    // sends the first packet of a connection to the server's port
	mangle table = "mangle" // drops what nat never sees: what connection tracking calls invalid, answers of other users
	filter table = "filter" // refuses direct connections: iptables-legacy rejects in no other table
)

// ownTables are in the order in which they are changed: the guards come before what they guard.
var ownTables = [...]table{filter, mangle, nat}

// chainID tells a chain of one family from all others: each table has names of its own.
type chainID struct {
	table table
	name  string
}

func (id chainID) String() string {
	if id.table == nat {
		return id.name
	}
	return id.name + " of the table " + string(id.table)
}

// The chains that have names of their own, and the beginnings of the names of the others. No name is longer than 27
// bytes: the kernel has room for 28 (XT_EXTENSION_MAXNAMELEN, linux/netfilter/x_tables.h).
const (
	rootChain = "PORTMAP"
	textChain = "PORTMAP-TEXT" // notes: temporary mappings, and pieces of long texts; no packet comes here

	invalidChain = "PORTMAP-INVALID" // in mangle: segments that arrive and belong to no connection
	listenChain  = "PORTMAP-LISTEN"  // in mangle: those of them for this host, by listen port
	targetChain  = "PORTMAP-TARGET"  // in mangle: segments that leave and belong to no connection, by target port
	serverChain  = "PORTMAP-SERVER"  // in mangle: those that arrive from servers on other hosts, by target port

	masqueradeChain = "PORTMAP-MASQ"     // in nat: connections to other hosts, by target port
	loopbackChain   = "PORTMAP-LOOPBACK" // in mangle: packets of other hosts to or from loopback addresses

	ownerChain  = "PORTMAP-OWNER"  // in mangle: answers that leave, by the port that was asked for
	hideChain   = "PORTMAP-HIDE"   // in filter: direct connections to this host, by target port
	refuseChain = "PORTMAP-REFUSE" // in filter: refuses what comes here

	portsOf     = "PORTMAP-P" // the ports of one mapping with several sources
	sourcesOf   = "PORTMAP-S" // its sources
	addressesOf = "PORTMAP-A" // the listen addresses of one port
)

var (
	rootID = chainID{nat, rootChain}
	textID = chainID{nat, textChain}
)

// hook is a chain of the kernel's own, and the jumps in it that lead into our chains, in the order in which they stand.
type hook struct {
	chainID
	jumps []rule
}

// hooks are the chains from which jumps lead into ours. Our jumps stand first in them: other tools append theirs, and
// so the same rule translates a connection whichever tool was there first.
//
// The nat chains ask twice whether an address is one of this host: an address in a VRF stands in the routing table of
// that VRF alone, and the first question is about the main one (net/netfilter/xt_addrtype.c, addrtype_mt_v1).
func hooks() [6]hook {
	loopback := rule{outside: true, verdict: jump, chain: loopbackChain}
	toLoopback, fromLoopback := loopback, loopback
	toLoopback.destination, fromLoopback.source = loopbackNetwork, loopbackNetwork
	return [...]hook{
		{chainID{nat, "PREROUTING"}, []rule{{to: here, verdict: jump, chain: rootChain},
			{to: hereInVRF, verdict: jump, chain: rootChain}}},
		{chainID{nat, "OUTPUT"}, []rule{{to: here, verdict: jump, chain: rootChain}}},
		{chainID{nat, "POSTROUTING"}, []rule{{translated: true, verdict: jump, chain: masqueradeChain}}},
		{chainID{mangle, "PREROUTING"}, []rule{toLoopback, fromLoopback,
			{protocol: tcp, invalid: true, verdict: jump, chain: invalidChain}}},
		{chainID{mangle, "OUTPUT"}, []rule{{protocol: tcp, invalid: true, verdict: jump, chain: targetChain},
			{when: answering, verdict: jump, chain: ownerChain}}},
		{chainID{filter, "INPUT"}, []rule{{when: direct, verdict: jump, chain: hideChain}}},
	}
}

// hookOf returns the hook that is a chain; nil for any other chain.
func hookOf(in chainID) *hook {
	for _, d := range hooks() {
		if d.chainID == in {
			return &d
		}
	}
	return nil
}

// counted reports whether a chain is compared: one that may be ours, or one that has a jump into ours.
func counted(id chainID) bool { return id.own() || hookOf(id) != nil }

// hashed names a chain by a kind and by what it is for.
func hashed(kind string, subject ...any) string {
	h := fnv.New64a()
	fmt.Fprintln(h, subject...)
	return fmt.Sprintf("%s%016x", kind, h.Sum64())
}

// own reports whether portmap could have given a chain this name.
func (id chainID) own() bool {
	trees := []string{"PORTMAP-TCP", "PORTMAP-UDP", masqueradeTCP, masqueradeUDP}
	switch {
	case id.table == nat && (id.name == rootChain || id.name == textChain || id.name == masqueradeChain):
		return true
	case id.table == mangle && (id.name == invalidChain || id.name == loopbackChain || id.name == ownerChain):
		return true
	case id.table == filter && (id.name == hideChain || id.name == refuseChain):
		return true
	case id.table == mangle:
		trees = []string{listenChain, targetChain, serverChain, ownerChain + "-T", ownerChain + "-U"}
	case id.table == filter:
		trees = []string{hideChain + "-T", hideChain + "-U"}
	}
	for _, tree := range trees {
		if rest, ok := strings.CutPrefix(id.name, tree); ok {
			return rest == "" || rest[0] == '-' && strings.Count(rest, "-") == 2 &&
				strings.Trim(rest, "-0123456789") == ""
		}
	}
	for _, kind := range [...]string{portsOf, sourcesOf, addressesOf} {
		if rest, ok := strings.CutPrefix(id.name, kind); ok && len(rest) == 16 &&
			strings.Trim(rest, "0123456789abcdef") == "" {
			return id.table == nat || kind == addressesOf || kind == sourcesOf && id.table == mangle
		}
	}
	return false
}

// line is a rule in a chain.
type line struct {
	rule    rule
	mapping int    // the number of the mapping whose connections it sends on; -1 for those that only lead there
	text    string // as iptables-save printed it; empty for one that is to be
	packets uint64
	bytes   uint64
}

// chain is a list of rules with a name.
type chain struct {
	id    chainID
	rules []line
}
