package nft

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A rule is compared by what it does, not by how it is written: nft, which loads saved rules, numbers registers
// in its own way, orders and leaves out matches, and compares the first bytes of an address where we mask all
// of it; kernels list more attributes than they were given. So a rule is run on names in the place of values,
// and the conditions and statements that come of it are its normal form.

// setFinder returns the set of a name.
type setFinder func(name string) (setContent, error)

// value is what a register holds.
type value struct {
	text   string
	length uint32 // in bytes
	kept   int    // of a part of a packet: how many of its bytes a mask leaves
}

func (v value) String() string {
	if v.kept > 0 {
		return fmt.Sprintf("%s/%d", v.text, v.kept)
	}
	return v.text
}

// normalizer runs a rule.
type normalizer struct {
	find       setFinder
	registers  [16]value // of 4 bytes; a longer value stands in its first
	conditions []string
	parts      []string
}

// normalForm returns what a rule does. Rules that do the same to every packet, in the ways in which nft and we
// write them, have the same form.
func normalForm(exprs [][]byte, find setFinder) (string, error) {
	n := normalizer{find: find}
	for _, e := range exprs {
		f := fields(e)
		if err := n.run(f.text(unix.NFTA_EXPR_NAME), fields(f[unix.NFTA_EXPR_DATA]),
			f[unix.NFTA_EXPR_DATA]); err != nil {
			return "", err
		}
	}
	n.statement("end")
	return strings.Join(n.parts, "; "), nil
}

// normalForm returns what the rule will do. The sets are those of the table.
func (r *rule) normalForm(sets map[string]setContent) string {
	own := map[string]setContent{}
	for i, s := range r.sets {
		s.lookup.SetName = fmt.Sprintf("__own%d", i)
		content := setContent{keyLen: s.set.KeyType.Bytes, dataLen: s.set.DataType.Bytes, interval: s.set.Interval,
			isMap: s.set.IsMap}
		for _, e := range s.elements {
			content.elements = append(content.elements, element{key: e.Key, end: e.IntervalEnd, data: e.Val})
		}
		own[s.lookup.SetName] = content
	}
	encoded := make([][]byte, 0, len(r.exprs))
	for _, e := range r.exprs {
		b, _ := expr.Marshal(unix.NFPROTO_INET, e) // fails for names that are too long: ours are not
		encoded = append(encoded, b)
	}
	form, _ := normalForm(encoded, func(name string) (setContent, error) {
		if content, is := own[name]; is {
			return content, nil
		}
		return sets[name], nil
	})
	return form
}

func (n *normalizer) run(name string, f attributeMap, raw []byte) error {
	switch name {
	case "meta":
		text := fmt.Sprintf("meta %d", f.number(unix.NFTA_META_KEY))
		n.loadOr(f, unix.NFTA_META_DREG, unix.NFTA_META_SREG, text, metaLength(f))
	case "ct":
		direction := f[unix.NFTA_CT_DIRECTION] // a byte, which google/nftables v0.3.0 sends as a number of four
		text := fmt.Sprintf("ct %d %x", f.number(unix.NFTA_CT_KEY), direction[:min(1, len(direction))])
		n.loadOr(f, unix.NFTA_CT_DREG, unix.NFTA_CT_SREG, text, 4)
	case "numgen":
		n.load(f.number(unix.NFTA_NG_DREG), value{length: 4, text: fmt.Sprintf("numgen %d %d %d",
			f.number(unix.NFTA_NG_TYPE), f.number(unix.NFTA_NG_MODULUS), f.number(unix.NFTA_NG_OFFSET))})
	case "hash":
		key := n.key(f.number(unix.NFTA_HASH_SREG), f.number(unix.NFTA_HASH_LEN))
		n.load(f.number(unix.NFTA_HASH_DREG), value{length: 4, text: fmt.Sprintf("hash %d of %s: %d %d %d",
			f.number(unix.NFTA_HASH_TYPE), key, f.number(unix.NFTA_HASH_MODULUS), f.number(unix.NFTA_HASH_SEED),
			f.number(unix.NFTA_HASH_OFFSET))})
	case "masq":
		n.statement(fmt.Sprintf("masquerade %d %s", f.number(unix.NFTA_MASQ_FLAGS),
			n.ifGiven(f, unix.NFTA_MASQ_REG_PROTO_MIN)))
	case "payload":
		n.payload(f)
	case "fib":
		text := fmt.Sprintf("fib %d %d", f.number(unix.NFTA_FIB_RESULT), f.number(unix.NFTA_FIB_FLAGS))
		n.load(f.number(unix.NFTA_FIB_DREG), value{text: text, length: 4})
	case "immediate":
		n.immediate(f)
	case "bitwise":
		n.bitwise(f)
	case "cmp":
		n.compare(n.at(f.number(unix.NFTA_CMP_SREG)), f.number(unix.NFTA_CMP_OP), datum(f[unix.NFTA_CMP_DATA]))
	case "range":
		n.within(f)
	case "lookup":
		return n.lookup(f)
	case "nat":
		n.nat(f)
	case "counter":
		n.statement("counter")
	case "reject":
		n.reject(f)
	default:
		n.statement(name + " " + hex.EncodeToString(raw)) // nothing of ours
	}
	return nil
}

// register returns the place of a register: 1 to 4 are the old names of every fourth (linux/netfilter/nf_tables.h,
// NFT_REG32_00).
func register(number uint32) uint32 {
	if number >= 1 && number <= 4 {
		return (number - 1) * 4
	}
	return min(number-regKey, 15)
}

func (n *normalizer) load(number uint32, v value) {
	at := register(number)
	n.registers[at] = v
	for next := at + 1; next < at+(v.length+3)/4 && next < uint32(len(n.registers)); next++ {
		n.registers[next] = value{}
	}
}

func (n *normalizer) at(number uint32) value { return n.registers[register(number)] }

// loadOr loads what is named by text, or where the expression has a source register, sets it.
func (n *normalizer) loadOr(f attributeMap, destination, source uint16, text string, length uint32) {
	if _, sets := f[source]; sets {
		n.statement("set " + text + " to " + n.at(f.number(source)).String())
		return
	}
	n.load(f.number(destination), value{text: text, length: length})
}

func metaLength(f attributeMap) uint32 {
	switch f.number(unix.NFTA_META_KEY) {
	case unix.NFT_META_IIFNAME, unix.NFT_META_OIFNAME:
		return unix.IFNAMSIZ
	}
	return 4
}

func (n *normalizer) payload(f attributeMap) {
	base, offset := f.number(unix.NFTA_PAYLOAD_BASE), f.number(unix.NFTA_PAYLOAD_OFFSET)
	length := f.number(unix.NFTA_PAYLOAD_LEN)
	if _, writes := f[unix.NFTA_PAYLOAD_SREG]; writes {
		n.statement(fmt.Sprintf("set payload %d %d %d to %s", base, offset, length,
			n.at(f.number(unix.NFTA_PAYLOAD_SREG))))
		return
	}
	v := value{text: fmt.Sprintf("payload %d %d", base, offset), length: length, kept: int(length)}
	n.load(f.number(unix.NFTA_PAYLOAD_DREG), v)
}

func (n *normalizer) immediate(f attributeMap) {
	data := fields(f[unix.NFTA_IMMEDIATE_DATA])
	if verdict, is := data[unix.NFTA_DATA_VERDICT]; is {
		v := fields(verdict)
		n.statement(fmt.Sprintf("verdict %d %s", int32(v.number(unix.NFTA_VERDICT_CODE)),
			v.text(unix.NFTA_VERDICT_CHAIN)))
		return
	}
	b := data[unix.NFTA_DATA_VALUE]
	n.load(f.number(unix.NFTA_IMMEDIATE_DREG), value{text: hex.EncodeToString(b), length: uint32(len(b))})
}

// bitwise of a mask that keeps whole bytes is the same as a shorter load, which is how nft writes it.
func (n *normalizer) bitwise(f attributeMap) {
	v := n.at(f.number(unix.NFTA_BITWISE_SREG))
	mask, xor := datum(f[unix.NFTA_BITWISE_MASK]), datum(f[unix.NFTA_BITWISE_XOR])
	ones := 0
	for ones < len(mask) && mask[ones] == 0xff {
		ones++
	}
	const maskXor = 0 // NFT_BITWISE_MASK_XOR
	switch {
	case f.number(nftaBitwiseOp) != maskXor:
		v = value{text: fmt.Sprintf("(%s bitwise %x)", v, f[nftaBitwiseOp]), length: v.length}
	case v.kept == len(mask) && zero(mask[ones:]) && zero(xor):
		v.kept = ones
	default:
		v = value{text: fmt.Sprintf("(%s & %x ^ %x)", v, mask, xor), length: v.length}
	}
	n.load(f.number(unix.NFTA_BITWISE_DREG), v)
}

const nftaBitwiseOp = 6 // NFTA_BITWISE_OP, which package unix lacks

func zero(b []byte) bool { return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// Comparisons, as the kernel numbers them (NFT_CMP_EQ).
var comparisons = [...]string{"==", "!=", "<", "<=", ">", ">="}

func (n *normalizer) compare(v value, operation uint32, data []byte) {
	if v.kept > 0 && v.kept < len(data) && zero(data[v.kept:]) {
		data = data[:v.kept]
	}
	n.condition("%s %s %x", v, comparisons[min(int(operation), len(comparisons)-1)], data)
}

func (n *normalizer) within(f attributeMap) {
	v := n.at(f.number(unix.NFTA_RANGE_SREG))
	from, to := datum(f[unix.NFTA_RANGE_FROM_DATA]), datum(f[unix.NFTA_RANGE_TO_DATA])
	if f.number(unix.NFTA_RANGE_OP) != unix.NFT_RANGE_EQ {
		n.condition("%s not in %x-%x", v, from, to)
		return
	}
	n.compare(v, unix.NFT_CMP_GTE, from)
	n.compare(v, unix.NFT_CMP_LTE, to)
}

func (n *normalizer) lookup(f attributeMap) error {
	set, err := n.find(f.text(unix.NFTA_LOOKUP_SET))
	if err != nil {
		return err
	}
	source := f.number(unix.NFTA_LOOKUP_SREG)
	inverted := f.number(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0
	if runs := set.runs(); len(runs) == 1 && !inverted { // nft makes comparisons of it
		n.compare(n.at(source), unix.NFT_CMP_GTE, runs[0].first)
		n.compare(n.at(source), unix.NFT_CMP_LTE, runs[0].last)
		return nil
	}
	key, content := n.key(source, set.keyLen), set.String()
	if inverted {
		content = "not " + content
	}
	n.condition("%s in %s", key, content)
	to := f.number(unix.NFTA_LOOKUP_DREG)
	switch _, maps := f[unix.NFTA_LOOKUP_DREG]; {
	case maps && to == unix.NFT_REG_VERDICT:
		n.statement("verdict of " + content + "[" + key + "]")
	case maps:
		n.load(to, value{text: content + "[" + key + "]", length: set.dataLen})
	}
	return nil
}

// key returns what stands in the registers from one on, up to a length in bytes.
func (n *normalizer) key(number, length uint32) string {
	var parts []string
	for at := register(number); length > 0 && at < uint32(len(n.registers)); {
		v := n.registers[at]
		words := max(1, (v.length+3)/4)
		parts = append(parts, v.String())
		at += words
		length -= min(length, words*4)
	}
	return strings.Join(parts, " . ")
}

func (n *normalizer) nat(f attributeMap) {
	from := func(kind uint16) string { return n.ifGiven(f, kind) }
	last := cmp.Or(from(unix.NFTA_NAT_REG_PROTO_MAX), from(unix.NFTA_NAT_REG_PROTO_MIN))
	lastAddress := cmp.Or(from(unix.NFTA_NAT_REG_ADDR_MAX), from(unix.NFTA_NAT_REG_ADDR_MIN))
	const implied = 3 // NF_NAT_RANGE_MAP_IPS and NF_NAT_RANGE_PROTO_SPECIFIED say that there are registers
	n.statement(fmt.Sprintf("nat %d %d %d addr %s-%s port %s-%s",
		f.number(unix.NFTA_NAT_TYPE), f.number(unix.NFTA_NAT_FAMILY), f.number(unix.NFTA_NAT_FLAGS)&^implied,
		from(unix.NFTA_NAT_REG_ADDR_MIN), lastAddress, from(unix.NFTA_NAT_REG_PROTO_MIN), last))
}

// ifGiven returns what stands in the register that an attribute names; "" without the attribute.
func (n *normalizer) ifGiven(f attributeMap, kind uint16) string {
	if _, has := f[kind]; has {
		return n.at(f.number(kind)).String()
	}
	return ""
}

// reject of TCP by a reset has no code.
func (n *normalizer) reject(f attributeMap) {
	kind, code := f.number(unix.NFTA_REJECT_TYPE), f[unix.NFTA_REJECT_ICMP_CODE]
	if kind == unix.NFT_REJECT_TCP_RST {
		code = nil
	}
	n.statement(fmt.Sprintf("reject %d %x", kind, code))
}

func (n *normalizer) condition(format string, args ...any) {
	n.conditions = append(n.conditions, fmt.Sprintf(format, args...))
}

// statement ends a run of conditions, of which the order does not matter.
func (n *normalizer) statement(text string) {
	slices.Sort(n.conditions)
	n.parts = append(n.parts, strings.Join(slices.Compact(n.conditions), ", ")+": "+text)
	n.conditions = nil
}

// datum returns the bytes of an NFTA_DATA_VALUE.
func datum(b []byte) []byte { return fields(b)[unix.NFTA_DATA_VALUE] }
