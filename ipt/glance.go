package ipt

import (
	"context"
	"errors"
	"slices"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// With many mappings it is iptables-save that takes the time of a small change. Who knows what should be there has to see a
// few chains only.

// look is a chain of a family.
type look struct {
	family int
	id     chainID
}

// seen is what there is of a chain.
type seen struct {
	there    bool
	comments []string // of its rules, in order; "" for a rule without
}

// glance looks at chains.
func (b *Backend) glance(ctx context.Context, t tools, looks ...look) ([]seen, error) {
	if t.variant == Legacy {
		return glanceLegacy(ctx, t, looks)
	}
	list := make([]seen, len(looks))
	for i, l := range looks {
		var err error
		if list[i], err = b.tables.chain(families[l.family], l.id); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// glanceLegacy has iptables-legacy list the chains, all side by side: to print few rules takes half the time of printing all.
// The table mangle holds few, and is listed once.
func glanceLegacy(ctx context.Context, t tools, looks []look) ([]seen, error) {
	list := make([]seen, len(looks))
	commands := make([][]string, len(looks))
	by := make([]int, len(looks)) // the command that lists the chain
	for i, l := range looks {
		by[i] = i
		p := t.programs[l.family]
		if p.main == "" || !legacyTables(families[l.family], string(l.id.table)) {
			continue
		}
		commands[i] = []string{p.main, "-t", string(l.id.table), "-S"}
		if l.id.table == nat {
			commands[i] = append(commands[i], l.id.name)
		}
		by[i] = slices.IndexFunc(commands[:i+1], func(c []string) bool { return slices.Equal(c, commands[i]) })
		if by[i] < i {
			commands[i] = nil
		}
	}
	results := runAll(ctx, commands)
	for i, l := range looks {
		r := results[by[i]]
		switch {
		case commands[by[i]] == nil, r.err != nil && strings.Contains(r.err.Error(), "No chain/target/match by that name"):
			continue
		case r.err != nil:
			return nil, r.err
		}
		for _, text := range strings.Split(string(r.output), "\n") {
			if text == "-N "+l.id.name {
				list[i].there = true
			} else if rule, ok := strings.CutPrefix(text, "-A "+l.id.name+" "); ok {
				list[i].comments = append(list[i].comments, commentOf(rule))
			}
		}
	}
	return list, nil
}

// tables looks at iptables-nft's chains in nf_tables, without running it. The zero value connects when it is first asked.
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
	for _, none := range [...]unix.Errno{unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if err != nil && says(err, none) {
			return false, nil
		}
	}
	return err == nil, err
}

func (t *tables) chain(family rules.Families, id chainID) (s seen, err error) {
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
