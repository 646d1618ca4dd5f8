package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"portmap/internal/probe"
	"portmap/internal/trace"
	"portmap/rules"
)

// Step is a rule or a policy that a packet met.
type Step struct {
	Place string // "inet filter input"
	Text  string // the rule, as nft lists it, and what it made of the packet
	Parts bool   // here the way parts from the one that the mapping leads
}

// pathOf returns the rules of nf_tables that the packet of a Way met: to the server, then the answer.
func (t *Texts) pathOf(ctx context.Context, w *Way) []Step {
	steps := t.Steps(ctx, w.out, w.Expected)
	for _, s := range t.Steps(ctx, w.back, nil) {
		s.Place = "answer: " + s.Place
		steps = append(steps, s)
	}
	return steps
}

// Steps returns the rules that a packet met. It should come to one of the expected addresses, if there are any.
func (t *Texts) Steps(ctx context.Context, p *trace.Packet, expected []netip.AddrPort) (steps []Step) {
	if p == nil {
		return nil
	}
	parted := false
	for i := range p.Hops {
		hop := &p.Hops[i]
		step := Step{Place: stopPlace(hop), Text: t.hopText(ctx, p, hop)}
		to := hop.To
		if i+1 < len(p.Hops) {
			to = p.Hops[i+1].To
		}
		if to != hop.To {
			step.Text += " -> " + to.String()
		}
		elsewhere := to != hop.To && expected != nil && !slices.Contains(expected, to)
		if !parted && (hop.Verdict == trace.Drop || elsewhere) {
			step.Parts, parted = true, true
		}
		steps = append(steps, step)
	}
	return steps
}

func stopPlace(hop *trace.Hop) string {
	return stop{family: hop.Family, table: hop.Table}.fullTable() + " " + rules.Printable(hop.Chain)
}

func (t *Texts) hopText(ctx context.Context, p *trace.Packet, hop *trace.Hop) string {
	if hop.Policy {
		return "policy " + string(hop.Verdict)
	}
	rule, err := t.rule(ctx, p, hop)
	if err != nil {
		return string(hop.Verdict)
	}
	return rules.Printable(rule.Text)
}

// Tracked returns what connection tracking knew of the packet.
func (w *Way) Tracked() trace.Connection {
	if w.out == nil {
		return trace.Connection{}
	}
	return w.out.Tracked
}

// Sender returns from where the packet was sent.
func (w *Way) Sender() netip.AddrPort { return w.answer.From }

// Result says in a few words what became of the packet.
func (w *Way) Result() string {
	switch {
	case w.Reached && w.Quiet:
		return "arrived; no answer, as is usual for UDP"
	case w.Reached:
		return "answered"
	case w.out != nil && w.out.Dropped():
		return "stopped on its way"
	case w.back != nil && w.back.Dropped():
		return "answered, and the answer stopped on its way"
	}
	switch w.answer.Outcome {
	case probe.Answered:
		return "answered, by another server than the mapping's"
	case probe.Refused:
		return "refused"
	case probe.Unreachable, probe.Unsent:
		return fmt.Sprintf("failed: %v", w.answer.Err)
	}
	return "no answer"
}
