package others

// action is what a rule does to a packet, as far as it matters here.
type action int

const (
	pass      action = iota // nothing that matters
	translate               // it changes the destination
	untrack                 // it keeps the packet out of connection tracking, and so out of NAT
	accept                  // no other rule of the chain sees the packet
	leave                   // no other rule of this chain alone sees it
	drop                    // nobody else sees it; also where the client is told so
)

// someOf is what a rule does that accepts some of its packets.
const someOf = "by a map"

// rule is a rule of somebody else's.
type rule struct {
	match  match
	action action
	to     string // what it does, as nft would write it
	jump   string // the chain to which it leads
	number uint64 // its handle in nf_tables; in iptables its place in the chain, from 1 on

	branches []rule // what a map makes of it, by the interface
}

// Limits of a look: what takes longer is left.
const (
	maxRules = 500  // to be read
	maxSteps = 2000 // rules met, by all ways that lead to them
	maxDepth = 16   // NFT_JUMP_STACK_SIZE, linux/netfilter/nf_tables.h
)

// walk follows a table's rules from a base chain.
type walk struct {
	rules func(chain string) []rule // those of one chain
	ours  string                    // the chain whose rules are portmap's
	visit func(chain string, r rule)
	every bool // visit those that do not act, too
	steps int
}

// from meets each rule that packets of a match can meet, and hands over those that act, with all that led to them.
func (w *walk) from(chain string, under match, depth int) {
	if depth > maxDepth || chain == w.ours {
		return
	}
	for _, r := range w.rules(chain) {
		if w.steps++; w.steps > maxSteps {
			return
		}
		var possible bool
		if r.match, possible = under.and(r.match); !possible {
			continue
		}
		if w.every || r.action != pass {
			w.visit(chain, r)
		}
		if r.jump != "" {
			w.from(r.jump, r.match, depth+1)
		}
	}
}
