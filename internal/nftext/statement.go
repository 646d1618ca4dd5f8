package nftext

import (
	"fmt"
	"strings"

	"portmap/rules"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
		w.say("[match " + e.Name + "]")
	case *expr.Target:
		w.rejects = w.rejects || e.Name == "REJECT"
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
