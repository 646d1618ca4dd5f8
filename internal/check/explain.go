package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/others"
	"portmap/internal/pinhole"
	"portmap/internal/probe"
	"portmap/internal/trace"
	"portmap/rules/facts"
)

// explain returns why a way does not lead to a server, as far as packets show it.
func (t *Texts) explain(ctx context.Context, w *Way, seen counters) []finding.Finding {
	if w.Reached {
		return nil
	}
	if s, stopped := t.stopOf(ctx, w.out); stopped {
		return t.stoppedBy(ctx, s, w)
	}
	if s, stopped := t.stopOf(ctx, w.back); stopped {
		s.answer = true
		return t.stoppedBy(ctx, s, w)
	}
	silent := w.answer.Outcome == probe.Silent || w.answer.Outcome == probe.Unreachable
	if s, stopped := legacyStop(seen, w); stopped {
		return t.stoppedBy(ctx, s, w)
	}
	to := w.destination()
	by, translated := t.translator(ctx, w)
	switch {
	case w.answer.Outcome == probe.Unsent:
		return w.about(finding.ProbeUnsent, "the probe could not send: %v", w.answer.Err)
	case translated:
		var c pinhole.Commands
		if by.tool == "" && by.system == others.Tables { // a tool would put it back
			c = cureFor(by, w)
		}
		return []finding.Finding{{ID: finding.ForeignRuleFirst, Mapping: w.Mapping, Seen: w.evidence(),
			Text:   fmt.Sprintf("another rule takes the clients of %s before it: %s", w.Mapping.Spec(), by),
			Remedy: c.Remedy, Undo: c.Undo}}
	case to.IsValid() && to != w.To && !slices.Contains(w.Expected, to): // by a rule of iptables-legacy
		return w.about(finding.ForeignRuleFirst, "another rule sends it to %s, not to %s", to, addresses(w.Expected))
	case w.answer.Outcome == probe.Answered:
		return w.about(finding.NotTranslated, "somebody answers, and it is not the mapping's server: the packet was "+
			"not translated")
	case facts.RemoteFamilies(&w.Mapping) != 0 && slices.Contains(w.Expected, to) && w.answer.Outcome == probe.Refused:
		return w.about(finding.TargetRefuses, "%s refuses the connection", to)
	case silent && seen.crowded && seen.kernel[noRoom] > 0 && !w.tracked():
		return []finding.Finding{conntrackDrops("", w)}
	case facts.RemoteFamilies(&w.Mapping) != 0 && silent && w.out != nil && w.out.Last() != nil:
		return w.about(finding.TargetSilent, "%s does not answer", addresses(w.Expected))
	case silent && seen.reason() != "":
		return w.about(finding.KernelDrops, "no rule dropped it, and the kernel counts %s", seen.reason())
	}
	return nil
}

// about makes a finding of this way.
func (w *Way) about(id finding.ID, format string, args ...any) []finding.Finding {
	text := fmt.Sprintf("%s: a client's packet to %s/%s: ", w.Mapping.Spec(), w.To, w.Protocol)
	return []finding.Finding{{ID: id, Mapping: w.Mapping, Text: text + fmt.Sprintf(format, args...)}}
}

func (t *Texts) stoppedBy(ctx context.Context, s stop, w *Way) []finding.Finding {
	if s.own() {
		return nil // the mapping's own guard: who listens is known by the sockets
	}
	if why := t.tellsApart(ctx, s, w); why != "" {
		w.Untold = true
		return []finding.Finding{{ID: finding.CertainClients, Mapping: w.Mapping, Text: why, Seen: w.evidence()}}
	}
	id, what := finding.RuleDrops, "a rule drops"
	if s.rejects {
		what = "a rule rejects"
	}
	if s.policy() {
		id, what = finding.FirewallDrops, "a policy drops"
	}
	whom := "clients of " + w.Mapping.Spec()
	if s.answer {
		id, whom = finding.AnswerDropped, "the answers of "+w.Mapping.Spec()
	}
	c := cureFor(s, w)
	return []finding.Finding{{ID: id, Mapping: w.Mapping, Text: fmt.Sprintf("%s %s: %s", what, whom, s),
		Remedy: c.Remedy, Undo: c.Undo, Seen: w.evidence()}}
}

// evidence is the way of the packet until it was stopped, in one line.
func (w *Way) evidence() string {
	text := fmt.Sprintf("%s -> %s", w.answer.From, w.To)
	to := w.destination()
	if last := w.out.Last(); !to.IsValid() && last != nil {
		to = last.To
	}
	if to.IsValid() && to != w.To {
		text += fmt.Sprintf(", translated to %s", to)
	}
	return text
}

// tracked reports whether the packet was seen behind connection tracking.
func (w *Way) tracked() bool {
	last := w.out.Last()
	return w.out != nil && w.out.Arrived.IsValid() || last != nil && last.To != w.To
}

// destination returns where the packet went in the end, as far as that is known. Connection tracking forgets a
// connection that is refused at once (nf_conntrack_proto_tcp.c, nf_conntrack_tcp_packet).
func (w *Way) destination() netip.AddrPort {
	if !w.entry.Found && w.out != nil {
		return w.out.Arrived
	}
	return w.entry.To
}

// translator returns the rule of another tool that translated the packet.
func (t *Texts) translator(ctx context.Context, w *Way) (rule stop, found bool) {
	if w.out == nil {
		return rule, false
	}
	for i, hop := range w.out.Hops {
		if hop.To != w.To || hop.Handle == 0 || hop.Verdict != trace.Accept {
			continue
		}
		rule := t.stopAt(ctx, w.out, i)
		text := strings.ToLower(rule.text)
		if rule.tool != "portmap" && (strings.Contains(text, "dnat") || strings.Contains(text, "redirect")) {
			return rule, true
		}
	}
	return rule, false
}

func addresses(list []netip.AddrPort) string {
	texts := make([]string, 0, len(list))
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " or ")
}

// reason says what the kernel counted that ends a packet without a rule (Documentation/networking/snmp_counter.rst).
func (c counters) reason() string {
	for _, known := range [...]struct{ name, says string }{
		{"TcpExt IPReversePathFilter", "a packet whose sender is not reached where it came from (rp_filter)"},
		{"TcpExt ListenOverflows", "a connection for which the server's queue had no room"},
		{"TcpExt ListenDrops", "a connection that the server's socket could not take"},
		{"TcpExt TCPReqQFullDrop", "a SYN for which the queue had no room"},
		{"IpExt InNoRoutes", "a packet to an address without a route"},
	} {
		if c.kernel[known.name] > 0 {
			return known.says
		}
	}
	return ""
}
