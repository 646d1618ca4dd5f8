// Package nftext writes a rule of nf_tables as nft(8) lists it, for a person to read. What it does not know stands in
// brackets.
package nftext

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Rule is a rule of nf_tables.
type Rule struct {
	Text    string // "tcp dport 8443 drop"
	Comment string
	Number  int  // its place in its chain, from 1 on
	Extends bool // it has parts that only iptables-nft can make and list
	Rejects bool
}

// Read returns the rule of a chain that has a handle. It needs CAP_NET_ADMIN.
func Read(family byte, table, chain string, handle uint64) (Rule, error) {
	conn, err := nftables.New()
	if err != nil {
		return Rule{}, err
	}
	t := &nftables.Table{Family: nftables.TableFamily(family), Name: table}
	list, err := conn.GetRules(t, &nftables.Chain{Name: chain, Table: t})
	if err != nil {
		return Rule{}, fmt.Errorf("read chain %s: %w", rules.Printable(chain), err)
	}
	for i, r := range list {
		if r.Handle == handle {
			w := writer{family: family, loaded: map[uint32]loaded{}, conn: conn, table: t}
			return w.rule(r, i+1), nil
		}
	}
	return Rule{}, fmt.Errorf("chain %s has no such rule any more", rules.Printable(chain))
}

func (w *writer) rule(r *nftables.Rule, number int) Rule {
	for _, e := range r.Exprs {
		w.expression(e)
	}
	comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
	return Rule{Text: w.String(), Comment: strings.TrimRight(comment, "\x00"), Number: number,
		Extends: w.extends, Rejects: w.rejects}
}

// writer goes through the expressions of a rule: some load a field into a register, others compare it.
type writer struct {
	conn     *nftables.Conn
	table    *nftables.Table
	family   byte
	protocol byte // that was asked for
	loaded   map[uint32]loaded
	phrases  []string
	extends  bool
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

func (w *writer) expression(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		w.meta(e)
	case *expr.Payload:
		w.load(e.DestRegister, w.payload(e))
	case *expr.Ct:
		w.load(e.Register, connection(e))
	case *expr.Fib:
		w.load(e.Register, loaded{name: "fib daddr type", write: addressType})
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

// statement writes what a rule does.
func (w *writer) statement(e expr.Any) {
	switch e := e.(type) {
	case *expr.Verdict:
		w.say(verdict(e))
	case *expr.Reject:
		w.rejects = true
		if e.Type == unix.NFT_REJECT_TCP_RST {
			w.say("reject with tcp reset")
		} else {
			w.say("reject")
		}
	case *expr.NAT:
		w.say(map[expr.NATType]string{expr.NATTypeDestNAT: "dnat", expr.NATTypeSourceNAT: "snat"}[e.Type] + " to " +
			w.destination(e.RegAddrMin, e.RegProtoMin))
	case *expr.Redir:
		w.say("redirect to " + w.destination(0, e.RegisterProtoMin))
	case *expr.Masq:
		w.say("masquerade")
	case *expr.Match:
		w.extends = true
		w.say("[match " + e.Name + "]")
	case *expr.Target:
		w.extends, w.rejects = true, w.rejects || e.Name == "REJECT"
		w.say("[target " + e.Name + "]")
	case *expr.Notrack:
		w.say("notrack")
	default:
		w.say(strings.ToLower(strings.TrimPrefix(fmt.Sprintf("[%T]", e), "[*expr.")))
	}
}

func verdict(e *expr.Verdict) string {
	switch e.Kind {
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictJump:
		return "jump " + rules.Printable(e.Chain)
	case expr.VerdictGoto:
		return "goto " + rules.Printable(e.Chain)
	case expr.VerdictQueue:
		return "queue"
	}
	return "continue"
}

// register returns one number for the two names that a register has: 1-4 of 16 bytes, 8-23 of 4
// (linux/netfilter/nf_tables.h).
func register(r uint32) uint32 {
	if r >= 1 && r <= 4 {
		return 8 + (r-1)*4
	}
	return r
}

func (w *writer) load(r uint32, what loaded) { w.loaded[register(r)] = what }

func (w *writer) meta(e *expr.Meta) {
	if e.SourceRegister {
		w.say("meta " + metaName(e.Key) + " set 0x" + fmt.Sprintf("%x", w.loaded[register(e.Register)].value))
		return
	}
	field := loaded{name: "meta " + metaName(e.Key), write: hexadecimal}
	switch e.Key {
	case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
		field = loaded{name: metaName(e.Key), write: interfaceName}
	case expr.MetaKeyL4PROTO:
		field.write = protocol
	case expr.MetaKeyNFPROTO:
		field.write = family
	case expr.MetaKeyMARK, expr.MetaKeySKUID, expr.MetaKeySKGID, expr.MetaKeyIIF, expr.MetaKeyOIF:
		field.write = native
	}
	w.load(e.Register, field)
}

func metaName(k expr.MetaKey) string {
	names := map[expr.MetaKey]string{
		expr.MetaKeyMARK: "mark", expr.MetaKeyIIF: "iif", expr.MetaKeyOIF: "oif", expr.MetaKeyIIFNAME: "iifname",
		expr.MetaKeyOIFNAME: "oifname", expr.MetaKeySKUID: "skuid", expr.MetaKeySKGID: "skgid",
		expr.MetaKeyNFPROTO: "nfproto", expr.MetaKeyL4PROTO: "l4proto", expr.MetaKeyPKTTYPE: "pkttype",
		expr.MetaKeyCGROUP: "cgroup", expr.MetaKeyLEN: "length", expr.MetaKeyNFTRACE: "nftrace",
	}
	if name, known := names[k]; known {
		return name
	}
	return strconv.Itoa(int(k))
}

// payload names a field of the headers by where it is.
func (w *writer) payload(e *expr.Payload) loaded {
	transport := "th"
	if name := protocol([]byte{w.protocol}); w.protocol != 0 {
		transport = name
	}
	v6 := w.family == unix.NFPROTO_IPV6
	switch {
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 0 && e.Len == 2:
		return loaded{name: transport + " sport", write: number}
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 2 && e.Len == 2:
		return loaded{name: transport + " dport", write: number}
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 13 && e.Len == 1:
		return loaded{name: "tcp flags", write: hexadecimal}
	case e.Base == expr.PayloadBaseTransportHeader && e.Offset == 0 && e.Len == 1:
		return loaded{name: transport + " type", write: number}
	case e.Base != expr.PayloadBaseNetworkHeader:
	case v6 && e.Offset == 8, e.Offset == 8 && e.Len == 16:
		return loaded{name: "ip6 saddr", write: address(16)}
	case v6 && e.Offset == 24, e.Offset == 24 && e.Len == 16:
		return loaded{name: "ip6 daddr", write: address(16)}
	case v6 && e.Offset == 6:
		return loaded{name: "ip6 nexthdr", write: protocol}
	case e.Offset == 12:
		return loaded{name: "ip saddr", write: address(4)}
	case e.Offset == 16:
		return loaded{name: "ip daddr", write: address(4)}
	case e.Offset == 9:
		return loaded{name: "ip protocol", write: protocol}
	}
	return loaded{name: fmt.Sprintf("@%d,%d,%d", e.Base, e.Offset*8, e.Len*8), write: hexadecimal}
}

func connection(e *expr.Ct) loaded {
	switch e.Key {
	case expr.CtKeySTATE:
		return loaded{name: "ct state", write: bits("invalid", "established", "related", "new", "", "", "untracked")}
	case expr.CtKeySTATUS:
		return loaded{name: "ct status",
			write: bits("expected", "seen-reply", "assured", "confirmed", "snat", "dnat", "", "", "", "dying")}
	case expr.CtKeyMARK:
		return loaded{name: "ct mark", write: native}
	case expr.CtKeyPROTODST:
		return loaded{name: "ct original proto-dst", write: number}
	}
	return loaded{name: "ct [" + strconv.Itoa(int(e.Key)) + "]", write: hexadecimal}
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

func (w *writer) limit(e *expr.Limit) {
	over := ""
	if e.Over {
		over = "over "
	}
	unit := map[expr.LimitTime]string{expr.LimitTimeSecond: "second", expr.LimitTimeMinute: "minute",
		expr.LimitTimeHour: "hour", expr.LimitTimeDay: "day", expr.LimitTimeWeek: "week"}[e.Unit]
	w.say(fmt.Sprintf("limit rate %s%d/%s", over, e.Rate, unit))
}

// destination writes where a translation leads, from the registers that hold it.
func (w *writer) destination(addr, port uint32) string {
	text := ""
	if to := w.loaded[register(addr)]; addr != 0 {
		if text = to.name; text == "" {
			text = address(len(to.value))(to.value)
		}
	}
	if to := w.loaded[register(port)]; port != 0 {
		switch {
		case to.name != "":
			text += ":" + to.name
		case len(to.value) > 0:
			text += ":" + number(to.value)
		}
	}
	return text
}

// text writes a value of the field.
func (l loaded) text(value []byte) string {
	if l.write == nil {
		return hexadecimal(value)
	}
	return l.write(value)
}

// suffix is the length of a prefix: the mask's, or that of an address of which only whole bytes are compared.
func (l loaded) suffix(value []byte) string {
	whole := map[string]int{"ip saddr": 4, "ip daddr": 4, "ip6 saddr": 16, "ip6 daddr": 16}[l.name]
	switch {
	case whole == 0:
		return ""
	case l.mask != nil:
		ones := 0
		for _, b := range l.mask {
			for ; b&0x80 != 0; b <<= 1 {
				ones++
			}
		}
		return "/" + strconv.Itoa(ones)
	case len(value) < whole:
		return "/" + strconv.Itoa(len(value)*8)
	}
	return ""
}

func notOf(op expr.CmpOp) string {
	if op == expr.CmpOpNeq {
		return "!= "
	}
	return ""
}

func zero(value []byte) bool { return strings.Trim(string(value), "\x00") == "" }

func hexadecimal(value []byte) string { return fmt.Sprintf("0x%x", value) }

func number(value []byte) string {
	n := uint64(0)
	for _, b := range value {
		n = n<<8 | uint64(b)
	}
	return strconv.FormatUint(n, 10)
}

func native(value []byte) string {
	if len(value) != 4 {
		return hexadecimal(value)
	}
	return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(value)), 10)
}

func interfaceName(value []byte) string {
	name := unix.ByteSliceToString(value)
	if len(value) < unix.IFNAMSIZ { // which begins so
		name += "*"
	}
	return strconv.Quote(name)
}

func protocol(value []byte) string {
	if len(value) == 1 {
		name := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp",
			unix.IPPROTO_ICMPV6: "ipv6-icmp"}[value[0]]
		if name != "" {
			return name
		}
	}
	return number(value)
}

func family(value []byte) string {
	if len(value) == 1 && value[0] == unix.NFPROTO_IPV6 {
		return "ipv6"
	}
	return "ipv4"
}

func addressType(value []byte) string {
	if native(value) == strconv.Itoa(unix.RTN_LOCAL) {
		return "local"
	}
	return native(value)
}

// address returns how an address of so many bytes is written, also if only its beginning is there.
func address(size int) func([]byte) string {
	return func(value []byte) string {
		if len(value) > size {
			return hexadecimal(value)
		}
		a, _ := netip.AddrFromSlice(append(append([]byte{}, value...), make([]byte, size-len(value))...))
		return a.String()
	}
}

// bits returns how a value is written whose bits have names.
func bits(names ...string) func([]byte) string {
	return func(value []byte) string {
		if len(value) != 4 {
			return hexadecimal(value)
		}
		var set []string
		for i, name := range names {
			if binary.NativeEndian.Uint32(value)&(1<<i) != 0 && name != "" {
				set = append(set, name)
			}
		}
		return strings.Join(set, ",")
	}
}
