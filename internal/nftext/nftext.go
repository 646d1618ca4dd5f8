// Package nftext writes a rule of nf_tables as nft(8) lists it, for a person to read. What it does not know stands in
// brackets.
package nftext

import (
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// Rule is a rule of nf_tables.
type Rule struct {
	Text    string // "tcp dport 8443 drop"
	Comment string
	Number  int // its place in its chain, from 1 on
	Rejects bool
}

func (w *writer) rule(r *nftables.Rule, number int) Rule {
	for _, e := range r.Exprs {
		w.expression(e)
	}
	comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
	return Rule{Text: w.String(), Comment: strings.TrimRight(comment, "\x00"), Number: number,
		Rejects: w.rejects}
}

// writer goes through the expressions of a rule: some load a field into a register, others compare it.
type writer struct {
	conn     *nftables.Conn
	table    *nftables.Table
	family   byte
	protocol byte // that was asked for
	loaded   map[uint32]loaded
	phrases  []string
	rejects  bool
}

// loaded is what a register holds: a field by its name, how its values are written, and the mask that was put over it;
// or a value of the rule's own.
type loaded struct {
	name  string
	write func([]byte) string
	mask  []byte
	value []byte
}

func (w *writer) say(phrase string) { w.phrases = append(w.phrases, phrase) }

// String leaves out what nft leaves out: a match that another one implies; and it joins the two halves of a range.
func (w *writer) String() string {
	var shown []string
	for i, phrase := range w.phrases {
		last, later := len(shown)-1, w.phrases[i+1:]
		implied := ""
		for _, field := range [...]string{"meta l4proto ", "ip protocol ", "ip6 nexthdr "} {
			if value, is := strings.CutPrefix(phrase, field); is {
				implied = value + " "
			}
		}
		switch phrase {
		case "meta nfproto ipv4":
			implied = "ip "
		case "meta nfproto ipv6":
			implied = "ip6 "
		}
		isLater := func(p string) bool { return implied != "" && strings.HasPrefix(p, implied) }
		field, to, ends := strings.Cut(phrase, " <= ")
		switch {
		case slices.ContainsFunc(later, isLater):
		case ends && last >= 0 && strings.HasPrefix(shown[last], field+" >= "):
			shown[last] = strings.Replace(shown[last], " >= ", " ", 1) + "-" + to
		default:
			shown = append(shown, phrase)
		}
	}
	return strings.Join(shown, " ")
}
