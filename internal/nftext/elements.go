package nftext

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/google/nftables"
)

// mostElements is how many elements of a set are written.
const mostElements = 8

// elementsText writes the elements of a set without a name, as they stand in the rule: "{ 80, 443 }". Where there are
// too many, or of several fields, it is "{ ... }".
func (w *writer) elementsText(set string, field loaded) string {
	const some = "{ ... }"
	if w.conn == nil || field.write == nil {
		return some
	}
	list, err := w.conn.GetSetElements(&nftables.Set{Table: w.table, Name: set})
	if err != nil || len(list) == 0 {
		return some
	}
	sort.Slice(list, func(i, k int) bool { // of two at one place, the end of a range comes before the next one
		if order := bytes.Compare(list[i].Key, list[k].Key); order != 0 {
			return order < 0
		}
		return list[i].IntervalEnd && !list[k].IntervalEnd
	})
	var texts []string
	for i, e := range list {
		intervals := list[0].IntervalEnd || list[len(list)-1].IntervalEnd
		switch {
		case e.IntervalEnd:
			continue
		case intervals && len(e.Key) == 2 && i+1 < len(list):
			texts = append(texts, rangeText(e.Key, list[i+1].Key))
		case intervals:
			last := bytes.Repeat([]byte{0xff}, len(e.Key)) // what reaches to the end has none
			if i+1 < len(list) {
				last = before(list[i+1].Key)
			}
			text, is := networkText(e.Key, last)
			if !is {
				return some
			}
			texts = append(texts, text)
		default:
			texts = append(texts, field.write(e.Key))
		}
	}
	if len(texts) > mostElements {
		texts = append(texts[:mostElements], "...")
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// rangeText writes the ports from one to before another.
func rangeText(first, behind []byte) string {
	from, to := binary.BigEndian.Uint16(first), binary.BigEndian.Uint16(behind)-1
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// before returns the address before another one.
func before(address []byte) []byte {
	next, _ := netip.AddrFromSlice(address)
	return next.Prev().AsSlice()
}

// networkText writes the addresses from one to another; it is false for what is none.
func networkText(first, last []byte) (string, bool) {
	from, ok := netip.AddrFromSlice(first)
	to, also := netip.AddrFromSlice(last)
	if !ok || !also {
		return "", false
	}
	for bits := range from.BitLen() {
		p := netip.PrefixFrom(from, bits)
		if p.Masked() == p && p.Contains(to) && !p.Contains(to.Next()) {
			return p.String(), true
		}
	}
	if from == to {
		return from.String(), true
	}
	return from.String() + "-" + to.String(), true
}
