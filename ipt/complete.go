package ipt

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"portmap/rules"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// iptables-nft-save exits with 0 even if the kernel did not answer all its questions: it prints no rules for a chain whose
// rules it did not get, and without the list of chains none of ours (1.8.9 and 1.8.11, iptables/nft-cache.c,
// nft_rule_list_update and fetch_chain_cache). When it cannot write, it prints nothing and exits with 0, as iptables-legacy-save
// does. So an output must hold a whole table, and what iptables-nft-save printed is compared with what nf_tables counts.

// attempts is how often a listing is read that others may be changing.
const attempts = 4

// whole reports whether iptables-save printed all of a table. iptables-nft before 1.8.3 says that a table is not there.
func whole(output string) bool {
	return strings.Contains("\n"+output, "\n*") && strings.Contains(output, "\nCOMMIT\n") ||
		strings.Contains(output, "does not exist")
}

// incomplete reports whether there is a chain of which iptables-nft-save did not print as much as nf_tables holds.
func (b *Backend) incomplete(s snapshot) (bool, error) {
	for i, printed := range s.families {
		if printed == nil {
			continue
		}
		held, err := chainUses(families[i])
		if err != nil {
			return false, err
		}
		for _, id := range bothOf(slices.Collect(maps.Keys(held)), slices.Collect(maps.Keys(printed.uses))) {
			uses, listed := printed.uses[id]
			holds, there := held[id]
			if !id.own() {
				listed = there // iptables-nft-save prints a chain of the kernel's own also before it is there
			}
			if there == listed && uses == holds {
				continue
			}
			// An element of a map that leads into the chain counts as well, and iptables-nft-save does not print it.
			now, err := b.tables.chain(families[i], id)
			if err != nil || now.there != listed || len(now.comments) != printed.rules[id] {
				return true, err
			}
		}
	}
	return false, nil
}

// counted reports whether a chain is compared: one that may be ours, or one that has a jump into ours.
func counted(id chainID) bool { return id.own() || doorOf(id) != nil }

// count notes a rule that iptables-save printed. It counts for its chain and for the one to which it leads, as in the kernel
// (net/netfilter/nf_tables_api.c, nf_tables_newrule and nft_verdict_init).
func (s *saved) count(in chainID, text string) {
	if _, declared := s.uses[in]; declared {
		s.uses[in]++
		s.rules[in]++
	}
	to := chainID{in.table, chainOf(text)}
	if _, declared := s.uses[to]; declared {
		s.uses[to]++
	}
}

// chainUses asks nf_tables for the chains of a family that are compared, and how many rules are in each or lead to it.
func chainUses(family rules.Families) (map[chainID]int, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, tablesError(err)
	}
	defer conn.Close()
	answer, err := conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN,
			Flags: netlink.Request | netlink.Dump,
		},
		Data: nfgenmsg(family),
	})
	if err != nil {
		return nil, tablesError(err)
	}
	uses := map[chainID]int{}
	for _, m := range answer {
		id, n, err := chainUse(m.Data)
		if err != nil {
			return nil, tablesError(err)
		}
		if slices.Contains(ownTables[:], id.table) && counted(id) {
			uses[id] = n
		}
	}
	return uses, nil
}

// nfgenmsg returns a struct nfgenmsg (linux/netfilter/nfnetlink.h), which begins each message.
func nfgenmsg(family rules.Families) []byte {
	return []byte{byte(nfTable(family, nat).Family), unix.NFNETLINK_V0, 0, 0}
}

func chainUse(message []byte) (id chainID, uses int, err error) {
	attributes, err := netlink.NewAttributeDecoder(message[min(len(message), 4):])
	if err != nil {
		return id, 0, err
	}
	attributes.ByteOrder = binary.BigEndian
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_CHAIN_TABLE:
			id.table = table(attributes.String())
		case unix.NFTA_CHAIN_NAME:
			id.name = attributes.String()
		case unix.NFTA_CHAIN_USE:
			uses = int(attributes.Uint32())
		}
	}
	return id, uses, attributes.Err()
}

// live reads a variant. What is damaged is read again, until two looks agree: an extension of which iptables-nft-save does not
// learn the revision is printed with options of another one (libxtables/xtables.c, xtables_fully_register_pending_match), and
// such a rule looks like one of others.
func (b *Backend) live(ctx context.Context, t tools) (rules.Live, error) {
	s, err := b.read(ctx, t)
	for range attempts {
		if err != nil {
			return rules.Live{}, err
		}
		live := s.live()
		if live.Damaged == "" {
			return live, nil
		}
		before := s
		if s, err = b.read(ctx, t); err == nil && s.equal(before) {
			s.nameForeign(&live, t)
			return live, nil
		}
	}
	if err == nil {
		err = &Error{Why: fmt.Sprintf("the rules of %s were different each time they were read", t.variant), Fix: "do it again"}
	}
	return rules.Live{}, err
}

// equal reports whether two looks saw the same, apart from counters.
func (s snapshot) equal(other snapshot) bool {
	return slices.EqualFunc(s.families[:], other.families[:], func(a, b *saved) bool {
		return a == b || a != nil && b != nil && maps.EqualFunc(a.chains, b.chains, equalRules) &&
			maps.EqualFunc(a.jumps, b.jumps, slices.Equal) && maps.Equal(a.foreign, b.foreign) && maps.Equal(a.led, b.led)
	})
}
