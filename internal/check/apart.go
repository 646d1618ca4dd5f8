package check

import (
	"context"
	"fmt"
	"net/netip"

	"portmap/internal/finding"
	"portmap/internal/others"
	"portmap/rules"
)

// tellsApart says that what stopped a packet may let others pass, since rules tell clients apart by their address or
// their interface; "" if it stops all. To let the probe in would let in everybody.
func (t *Texts) tellsApart(ctx context.Context, s stop, w *Way) string {
	at := others.Place{System: s.system, Family: s.family, Table: s.table, Chain: s.chain, Number: s.handle}
	if s.system == others.Legacy {
		at.Number = uint64(s.number)
	}
	port := s.at
	if port == 0 && len(w.Expected) > 0 { // counters do not tell
		port = w.Expected[0].Port()
	}
	clients := others.Clients{Mapping: w.Mapping, Family: w.Family(), Protocol: w.Protocol,
		Ports: rules.Ports{First: port, Last: port}, To: []netip.Addr{w.To.Addr()}, Answer: s.answer}
	for _, to := range w.Expected {
		clients.To = append(clients.To, to.Addr())
	}
	if link := linkOf(w.To.Addr()); link != nil {
		clients.Comes = link.Name
	}
	apart, err := t.chains.Tell(ctx, at, clients)
	whom, probe := "clients of "+w.Mapping.Spec(), "the probe"
	if s.answer {
		whom, probe = "answers of "+w.Mapping.Spec(), "that to the probe"
	}
	switch {
	case err != nil:
		return ""
	case apart.Stopped:
		return fmt.Sprintf("a rule stops certain %s, and %s is one of them: %s", whom, probe, s)
	case apart.Lets != nil:
		return fmt.Sprintf("a rule lets pass certain %s, and %s is none of them: %s", whom, probe,
			t.letting(ctx, s, *apart.Lets, apart.Text))
	}
	return ""
}

// letting names a rule of the same table as one that stops.
func (t *Texts) letting(ctx context.Context, s stop, at others.Place, text string) stop {
	s.chain, s.handle, s.text = at.Chain, at.Number, text
	if s.system == others.Legacy {
		return s
	}
	if rule, err := t.read(ctx, at, s.program); err == nil {
		s.text, s.tool = rule.Text, others.ToolOf(at.Table, at.Chain, rule.Comment)
	}
	return s
}

// shutOut says that clients are stopped by a rule for the interface on which they come in, where the probe was not:
// that of the listen address, or by which a default route leads.
func shutOut(filters *others.Filters, w *Way) []finding.Finding {
	if !w.Reached {
		return nil
	}
	names := filters.Uplinks(w.Family())
	if link := linkOf(w.Mapping.Listen()); link != nil {
		names = []string{link.Name}
	}
	for _, name := range names {
		rule := filters.Shuts(&w.Mapping, w.Family(), w.Protocol, name)
		if rule == nil {
			continue
		}
		w.Reached, w.Untold = false, true
		return []finding.Finding{{ID: finding.CertainClients, Mapping: w.Mapping,
			Text: fmt.Sprintf("a rule stops clients of %s who come in on %s, as the probe does not: %s",
				w.Mapping.Spec(), rules.Printable(name), rule.Where())}}
	}
	return nil
}
