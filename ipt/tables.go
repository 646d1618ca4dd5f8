package ipt

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tables looks at iptables-nft's chains in nf_tables, without running it. The zero value connects when it is first
// asked.
type tables struct{ conn *nftables.Conn }

func (t *tables) open() (err error) {
	if t.conn == nil {
		t.conn, err = nftables.New(nftables.AsLasting())
	}
	return tablesError(err)
}

func (t *tables) close() error {
	if t.conn == nil {
		return nil
	}
	return t.conn.CloseLasting()
}

func tablesError(err error) error {
	switch {
	case err == nil:
		return nil
	case says(err, unix.EPERM):
		return &Error{Command: "nf_tables", Why: "not permitted", cause: unix.EPERM}
	}
	return &Error{Command: "nf_tables", Why: err.Error(), cause: err}
}

// says compares texts: of some errnos google/nftables v0.3.0 keeps no more.
func says(err error, errno unix.Errno) bool {
	return errors.Is(err, errno) || strings.HasSuffix(err.Error(), errno.Error())
}

func nfTable(family rules.Families, t table) *nftables.Table {
	if family == rules.IPv4 {
		return &nftables.Table{Name: string(t), Family: nftables.TableFamilyIPv4}
	}
	return &nftables.Table{Name: string(t), Family: nftables.TableFamilyIPv6}
}

// has reports whether there is a chain. Without nf_tables there is nobody to answer: nfnetlink knows no such subsystem
// (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg), or is not there itself (net/netlink/af_netlink.c, netlink_create).
func (t *tables) has(family rules.Families, id chainID) (bool, error) {
	err := t.open()
	if err == nil {
		_, err = t.conn.ListChain(nfTable(family, id.table), id.name)
		err = tablesError(err)
	}
	for _, none := range [...]unix.Errno{unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP,
		unix.EAFNOSUPPORT} {
		if err != nil && says(err, none) {
			return false, nil
		}
	}
	return err == nil, err
}

func (t *tables) chain(family rules.Families, id chainID) (s chainState, err error) {
	if s.there, err = t.has(family, id); err != nil || !s.there {
		return s, err
	}
	table := nfTable(family, id.table)
	found, err := t.conn.GetRules(table, &nftables.Chain{Name: id.name, Table: table})
	for _, r := range found {
		s.comments = append(s.comments, commentIn(r))
	}
	return s, tablesError(err)
}

func commentIn(r *nftables.Rule) string {
	for _, e := range r.Exprs {
		match, ok := e.(*expr.Match)
		if !ok || match.Name != "comment" {
			continue
		}
		if c, ok := match.Info.(*xt.Comment); ok {
			text, _, _ := strings.Cut(string(*c), "\x00")
			return text
		}
	}
	return ""
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
