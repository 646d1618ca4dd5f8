package nftext

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
	case expr.MetaKeyPKTTYPE:
		field.write = packetType
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

// route writes a question to the routing table.
func route(e *expr.Fib) loaded {
	var of []string
	for _, asked := range [...]struct {
		is   bool
		name string
	}{{e.FlagSADDR, "saddr"}, {e.FlagDADDR, "daddr"}, {e.FlagMARK, "mark"}, {e.FlagIIF, "iif"}, {e.FlagOIF, "oif"}} {
		if asked.is {
			of = append(of, asked.name)
		}
	}
	name := "fib " + strings.Join(of, " . ")
	switch {
	case e.ResultADDRTYPE:
		return loaded{name: name + " type", write: addressType}
	case e.ResultOIFNAME:
		return loaded{name: name + " oifname", write: interfaceName}
	case e.FlagPRESENT:
		return loaded{name: name + " oif", write: func(value []byte) string {
			if native(value) == "0" {
				return "missing"
			}
			return "exists"
		}}
	}
	return loaded{name: name + " oif", write: native}
}
