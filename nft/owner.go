package nft

import (
	"portmap/rules"

	"github.com/google/nftables/expr"
)

// With --owner, an answer on a mapping leaves only if it comes from a socket of the owner or of root. The chain output
// sees each packet with the socket that sends it. All packets pay for one comparison: whether connection tracking
// translates the destination of their flow. An answer of the owner is found by one lookup, by its two ports: the one
// that was asked for, which connection tracking knows, and its own.
//
// A packet without a socket of a user passes: the kernel's own resets, and what a socket still has to send when it is
// closed. Such a packet ends the evaluation of a rule that asks for the user (nft_meta.c, nft_meta_get_eval_skugid), so
// the rules that drop ask for it, too.

// ownerSets are the sets of the ports on which answers have an owner: with that owner, or without.
func ownerSets(name string, uid bool) []guardSet {
	owned := func(m *rules.Mapping) bool { return m.Owner() != "" }
	set := func(suffix string, k key) guardSet {
		k.answer, k.uid = true, uid
		return guardSet{name + suffix, k, owned}
	}
	return []guardSet{
		set("", key{family: true}), set("4", key{address: rules.IPv4}), set("6", key{address: rules.IPv6}),
	}
}

// dropOthers returns the rules for packets of translated flows that leave this host.
func dropOthers() []*rule {
	list := []*rule{
		newRule(chainOwner, "what clients of this host send").asked().pass(),
		newRule(chainOwner, "answers of root").ofRoot(true).pass(),
	}
	words := [...]string{"every address", "one IPv4 address", "one IPv6 address"}
	for i, s := range ownerSets("owners", true) {
		list = append(list, s.lookup(chainOwner, "answers of owners, "+words[i]).pass())
	}
	for i, s := range ownerSets("owned", false) {
		list = append(list, s.lookup(chainOwner, "answers of others, "+words[i]).ofRoot(false).drop())
	}
	return list
}

// asked matches packets that a client sends.
func (r *rule) asked() *rule {
	return r.add("ct direction original",
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: regFirst},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regFirst, Data: []byte{directionOriginal}})
}

// ofRoot matches packets from a socket of root, or of another user.
func (r *rule) ofRoot(yes bool) *rule {
	text, op := "meta skuid 0", expr.CmpOpEq
	if !yes {
		text, op = "meta skuid != 0", expr.CmpOpNeq
	}
	return r.add(text, &expr.Meta{Key: expr.MetaKeySKUID, Register: regFirst},
		&expr.Cmp{Op: op, Register: regFirst, Data: nativeBytes(0)})
}

// pass ends the chain for a packet.
func (r *rule) pass() *rule { return r.add("return", &expr.Verdict{Kind: expr.VerdictReturn}) }
