package check

import (
	"fmt"
	"net/netip"
	"slices"

	"portmap/internal/nftext"
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

// Path returns the rules of nf_tables that the packet of a Way met: to the server, then the answer.
func (w *Way) Path() (steps []Step) {
	steps = stepsOf(w.out, w.Expected)
	for _, s := range stepsOf(w.back, nil) {
		s.Place = "answer: " + s.Place
		steps = append(steps, s)
	}
	return steps
}

// Steps returns the rules that a packet met. It should come to one of the expected addresses, if there are any.
func Steps(p *trace.Packet, expected []netip.AddrPort) []Step { return stepsOf(p, expected) }

func stepsOf(p *trace.Packet, expected []netip.AddrPort) (steps []Step) {
	if p == nil {
		return nil
	}
	parted := false
	for i, hop := range p.Hops {
		step := Step{Place: stopPlace(hop), Text: hopText(hop)}
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

func stopPlace(hop trace.Hop) string {
	return stop{family: hop.Family, table: hop.Table}.fullTable() + " " + rules.Printable(hop.Chain)
}

func hopText(hop trace.Hop) string {
	if hop.Policy {
		return "policy " + string(hop.Verdict)
	}
	rule, err := nftext.Read(hop.Family, hop.Table, hop.Chain, hop.Handle)
	if err != nil {
		return string(hop.Verdict)
	}
	return rules.Printable(rule.Text)
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
