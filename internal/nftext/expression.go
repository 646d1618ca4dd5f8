package nftext

import (
	"strings"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func (w *writer) expression(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		w.meta(e)
	case *expr.Payload:
		w.load(e.DestRegister, w.payload(e))
	case *expr.Ct:
		w.load(e.Register, connection(e))
	case *expr.Fib:
		w.load(e.Register, route(e))
	case *expr.Bitwise:
		field := w.loaded[register(e.SourceRegister)]
		field.mask = e.Mask
		w.load(e.DestRegister, field)
	case *expr.Cmp:
		w.compare(e)
	case *expr.Range:
		field := w.loaded[register(e.Register)]
		w.match(field, notOf(e.Op)+field.text(e.FromData)+"-"+field.text(e.ToData))
	case *expr.Lookup:
		w.lookup(e)
	case *expr.Immediate:
		w.load(e.Register, loaded{value: e.Data})
	case *expr.Counter:
		// how often it matched is no part of what it says
	case *expr.Limit:
		w.limit(e)
	case *expr.Log:
		w.say("log")
	default:
		w.statement(e)
	}
}

func (w *writer) load(r uint32, what loaded) { w.loaded[register(r)] = what }

// register returns one number for the two names that a register has: 1-4 of 16 bytes, 8-23 of 4
// (linux/netfilter/nf_tables.h).
func register(r uint32) uint32 {
	if r >= 1 && r <= 4 {
		return 8 + (r-1)*4
	}
	return r
}

// compare writes a comparison. That with 0 behind a mask asks whether one of the bits is set.
func (w *writer) compare(e *expr.Cmp) {
	field := w.loaded[register(e.Register)]
	name, value := field.name, e.Data
	if e.Op == expr.CmpOpEq && len(value) == 1 {
		switch name {
		case "meta l4proto", "ip protocol", "ip6 nexthdr":
			w.protocol = value[0]
		case "meta nfproto":
			w.family = value[0]
		}
	}
	if name == "ct state" || name == "ct status" {
		if e.Op == expr.CmpOpNeq && zero(value) {
			w.match(field, field.text(field.mask))
			return
		}
	}
	op := map[expr.CmpOp]string{expr.CmpOpNeq: "!= ", expr.CmpOpLt: "< ", expr.CmpOpLte: "<= ", expr.CmpOpGt: "> ",
		expr.CmpOpGte: ">= "}[e.Op]
	w.match(field, op+field.text(value)+field.suffix(value))
}

func (w *writer) match(field loaded, value string) {
	if field.name == "" {
		field.name = "[?]"
	}
	w.say(field.name + " " + value)
}

func notOf(op expr.CmpOp) string {
	if op == expr.CmpOpNeq {
		return "!= "
	}
	return ""
}

func zero(value []byte) bool { return strings.Trim(string(value), "\x00") == "" }

// lookup writes a set by its name; those without one begin with "__".
func (w *writer) lookup(e *expr.Lookup) {
	field := loaded{name: w.fields(register(e.SourceRegister))}
	set := "@" + rules.Printable(e.SetName)
	if strings.HasPrefix(e.SetName, "__") {
		set = w.elementsText(e.SetName, w.loaded[register(e.SourceRegister)])
	}
	if e.Invert {
		set = "!= " + set
	}
	switch {
	case e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT:
		w.match(field, "vmap "+set)
	case e.IsDestRegSet:
		w.load(e.DestRegister, loaded{name: field.name + " map " + set})
	default:
		w.match(field, set)
	}
}

// fields names what stands in a register and, of a lookup by several fields, in those behind it.
func (w *writer) fields(first uint32) string {
	var names []string
	for r := first; w.loaded[r].name != ""; r++ {
		names = append(names, w.loaded[r].name)
	}
	return strings.Join(names, " . ")
}
