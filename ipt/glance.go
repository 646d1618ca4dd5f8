package ipt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// With many mappings it is iptables-save that takes the time of a small change. Who knows what should be there has to see a
// few chains only: iptables-nft's are in nf_tables, which answers in microseconds; of iptables-legacy, whose table is one
// piece, all was read already.

// glance returns the comments of the rules in one chain; there is false where there is no such chain.
func (b *Backend) glance(ctx context.Context, family int, name string) (comments []string, there bool, err error) {
	if b.use.variant == NFTables {
		return glanceNFTables(families[family], name)
	}
	s, err := b.recent(ctx)
	if err != nil || s[family] == nil {
		return nil, false, err
	}
	lines, there := s[family].chains[name]
	for _, l := range lines {
		comments = append(comments, commentOf(l.text))
	}
	return comments, there, nil
}

func natTable(family rules.Families) *nftables.Table {
	if family == rules.IPv4 {
		return &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}
	}
	return &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv6}
}

// chainInNFTables reports whether iptables-nft has a chain, without running it.
func chainInNFTables(family rules.Families, name string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, &Error{Why: err.Error(), cause: err}
	}
	_, err = conn.ListChain(natTable(family), name)
	if err == nil {
		return true, nil
	}
	// google/nftables v0.3.0 keeps only the text of the errno here. Without nf_tables there is nobody to answer: nfnetlink knows
	// no such subsystem (net/netfilter/nfnetlink.c, nfnetlink_rcv_msg).
	for _, none := range [...]unix.Errno{unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if strings.HasSuffix(err.Error(), none.Error()) {
			return false, nil
		}
	}
	if strings.HasSuffix(err.Error(), unix.EPERM.Error()) {
		return false, &Error{Command: "nf_tables", Why: "not permitted", cause: unix.EPERM}
	}
	return false, &Error{Command: "nf_tables", Why: err.Error(), cause: err}
}

func glanceNFTables(family rules.Families, name string) ([]string, bool, error) {
	there, err := chainInNFTables(family, name)
	if err != nil || !there {
		return nil, false, err
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, false, &Error{Why: err.Error(), cause: err}
	}
	table := natTable(family)
	list, err := conn.GetRules(table, &nftables.Chain{Name: name, Table: table})
	if err != nil {
		return nil, false, &Error{Command: "nf_tables", Why: err.Error(), cause: err}
	}
	var comments []string
	for _, r := range list {
		comment := ""
		for _, e := range r.Exprs {
			if match, ok := e.(*expr.Match); ok && match.Name == "comment" {
				if c, ok := match.Info.(*xt.Comment); ok {
					comment, _, _ = strings.Cut(string(*c), "\x00")
				}
			}
		}
		comments = append(comments, comment)
	}
	return comments, true, nil
}

// small returns the steps of a change that inserts and deletes rules of its own mappings in a few chains, which are as they
// should be. It reports false where the change is another, or the chains are: then everything has to be looked at.
func (b *Backend) small(ctx context.Context, change rules.Change) ([]step, bool, error) {
	changed := slices.Concat(change.Remove, change.Add)
	if change.Reset || change.Before == nil || len(changed) > 8 {
		return nil, false, nil
	}
	next, err := rules.NewSet(slices.Concat(rules.Minus(change.Before, change.Remove), change.Add)...)
	if err != nil {
		return nil, false, fmt.Errorf("%w (%w)", rules.ErrDrift, err)
	}
	after := next.Mappings()
	gone, come := labels(change.Remove), labels(change.Add)
	nothing, _ := parse(nil)
	var steps []step
	has, _ := b.use.has()
	for i, family := range families {
		if !has.Has(family) {
			continue
		}
		from := stateWith(encodeNear(change.Before, changed, family), nothing)
		to := stateWith(encodeNear(after, changed, family), nothing)
		if len(from.jumps) != len(to.jumps) {
			return nil, false, nil
		}
		for _, name := range slices.Concat(from.names, to.names) {
			have, want := from.chains[name], to.chains[name]
			if slices.EqualFunc(have, want, func(a, b line) bool { return a.text == b.text }) {
				continue
			}
			if !allOf(have, want, gone) || !allOf(want, have, come) {
				return nil, false, nil // others move to another chain, and their counters with them
			}
			_, known := from.chains[name]
			if ok, err := b.asBelieved(ctx, i, name, known, have); err != nil || !ok {
				return nil, false, err
			}
		}
		if script := between(from, to); script != nil {
			steps = append(steps, step{tools: b.use, family: i, before: from, part: slices.Concat(from.names, to.names), script: script})
		}
	}
	return steps, true, nil
}

func labels(mappings []rules.Mapping) map[string]bool {
	set := map[string]bool{"": true}
	for i := range mappings {
		set[mappings[i].Label(maxComment)] = true
		for _, note := range notes(&mappings[i]) {
			set[note] = true
		}
	}
	return set
}

// allOf reports whether the lines that are in one list and not in the other all have one of these comments.
func allOf(lines, less []line, comments map[string]bool) bool {
	other := make(map[string]bool, len(less))
	for _, l := range less {
		other[l.text] = true
	}
	return !slices.ContainsFunc(lines, func(l line) bool { return !other[l.text] && !comments[commentOf(l.text)] })
}

// asBelieved reports whether a chain has the rules that it should have, by their comments, or is not there.
func (b *Backend) asBelieved(ctx context.Context, family int, name string, known bool, want []line) (bool, error) {
	comments, there, err := b.glance(ctx, family, name)
	if err != nil || !known || !there {
		return err == nil && known == there, err
	}
	return slices.EqualFunc(comments, want, func(comment string, l line) bool { return comment == commentOf(l.text) }), nil
}
