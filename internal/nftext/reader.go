package nftext

import (
	"errors"
	"fmt"

	"portmap/internal/attribute"
	"portmap/rules"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Reader reads rules, and keeps what it has read: a packet meets some ten of them, and the next packet the same ones.
// The zero Reader is ready. It needs CAP_NET_ADMIN.
type Reader struct {
	conn       *nftables.Conn
	queries    *netlink.Conn // the socket under conn
	generation uint32
	chains     map[place][]*nftables.Rule
	texts      map[place]map[uint64]Rule // by handle
}

// place is a chain.
type place struct {
	family       byte
	table, chain string
}

// Rule returns the rule of a chain that has a handle.
func (r *Reader) Rule(family byte, table, chain string, handle uint64) (Rule, error) {
	at := place{family, table, chain}
	if rule, known := r.texts[at][handle]; known {
		return rule, nil
	}
	list, err := r.list(at)
	if err != nil {
		return Rule{}, fmt.Errorf("read chain %s: %w", rules.Printable(chain), err)
	}
	for i, rule := range list {
		if rule.Handle == handle {
			w := writer{family: family, loaded: map[uint32]loaded{}, conn: r.conn, table: rule.Table}
			r.texts[at][handle] = w.rule(rule, i+1)
			return r.texts[at][handle], nil
		}
	}
	return Rule{}, fmt.Errorf("chain %s has no such rule any more", rules.Printable(chain))
}

func (r *Reader) list(at place) ([]*nftables.Rule, error) {
	if list, known := r.chains[at]; known {
		return list, nil
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	table := &nftables.Table{Family: nftables.TableFamily(at.family), Name: at.table}
	list, err := r.conn.GetRules(table, &nftables.Chain{Name: at.chain, Table: table})
	if err == nil {
		r.chains[at], r.texts[at] = list, map[uint64]Rule{}
	}
	return list, err
}

func (r *Reader) connect() (err error) {
	if r.conn != nil {
		return nil
	}
	r.forget()
	r.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		r.queries = c
		return nil
	}))
	return err
}

func (r *Reader) forget() {
	r.chains, r.texts = map[place][]*nftables.Rule{}, map[place]map[uint64]Rule{}
}

// Refresh forgets what was read if a rule of the host has changed since the last call, and reports whether it did.
func (r *Reader) Refresh() (changed bool, err error) {
	if err := r.connect(); err != nil {
		return false, err
	}
	answer, err := r.queries.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	switch {
	case err != nil:
		return false, fmt.Errorf("ask for the generation of the rules: %w", err)
	case len(answer) != 1 || len(answer[0].Data) < 4:
		return false, errors.New("the kernel does not say which generation the rules are")
	}
	attribute.Each(answer[0].Data[4:], func(kind uint16, value []byte) {
		if number := attribute.Uint32(value); kind == unix.NFTA_GEN_ID && number != r.generation {
			r.forget()
			r.generation, changed = number, true
		}
	})
	return changed, nil
}

// Close lets go of the kernel.
func (r *Reader) Close() error {
	if r.conn == nil {
		return nil
	}
	return r.conn.CloseLasting()
}
