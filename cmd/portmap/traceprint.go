package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"portmap/internal/check"
	"portmap/internal/trace"
	"portmap/rules"
)

// tracePrinter prints packets of a mapping.
type tracePrinter struct {
	*app
	mapping rules.Mapping
	texts   check.Texts
}

func (t *tracePrinter) text(ctx context.Context, p *trace.Packet) error {
	if err := t.texts.Refresh(); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s  %s  %s -> %s%s\n", p.At.Format(time.TimeOnly), p.Protocol, p.From, p.To, arrivedOn(p))
	expected := t.expected(p)
	t.printSteps(t.texts.Steps(ctx, p, expected))
	end := endOf(p)
	if !p.Dropped() && p.Arrived.IsValid() && len(expected) > 0 && !slices.Contains(expected, p.Arrived) {
		end += ", not to " + joinAddresses(expected)
	}
	fmt.Fprintf(t.out, "    %s%s\n", end, conntrackText(p.Tracked))
	return nil
}

func (t *tracePrinter) expected(p *trace.Packet) []netip.AddrPort {
	decision, _ := t.mapping.Route(rules.Packet{Protocol: p.Protocol, Source: p.From.Addr(), Destination: p.To,
		DestinationLocal: true, Interface: interfaceOf(p.In)})
	return decision.To
}

func arrivedOn(p *trace.Packet) string {
	if name := interfaceOf(p.In); name != "" {
		return " on " + rules.Printable(name)
	}
	return ""
}

func interfaceOf(index uint32) string {
	link, err := net.InterfaceByIndex(int(index))
	if err != nil {
		return ""
	}
	return link.Name
}

// endOf says what became of a packet.
func endOf(p *trace.Packet) string {
	switch {
	case p.Dropped():
		return "dropped"
	case !p.Arrived.IsValid():
		return "not seen behind the rules: iptables-legacy or the kernel dropped it"
	case p.Arrived == p.To:
		return "not translated"
	}
	return "went to " + p.Arrived.String()
}

// The form of `trace -o json` is a promise to scripts, as docs/trace.schema.json has it.

type jsonTrace struct {
	Time      string         `json:"time"`
	Mapping   string         `json:"mapping"`
	Protocol  string         `json:"protocol"`
	Source    string         `json:"source"`
	Address   string         `json:"address"`
	Interface *string        `json:"interface"`
	Expected  []string       `json:"expected"`
	Path      []jsonHop      `json:"path"`
	Conntrack *jsonConntrack `json:"conntrack"`
	Result    string         `json:"result"`
}

func (t *tracePrinter) json(ctx context.Context, p *trace.Packet) error {
	if err := t.texts.Refresh(); err != nil {
		return err
	}
	out := jsonTrace{Time: p.At.Format(time.RFC3339Nano), Mapping: t.mapping.Spec(), Protocol: p.Protocol.String(),
		Source: p.From.String(), Address: p.To.String(), Interface: orNull(interfaceOf(p.In)), Expected: []string{},
		Path: []jsonHop{}, Conntrack: conntrackJSON(p.Tracked), Result: endOf(p)}
	expected := t.expected(p)
	for _, e := range expected {
		out.Expected = append(out.Expected, e.String())
	}
	for _, step := range t.texts.Steps(ctx, p, expected) {
		out.Path = append(out.Path, jsonHop(step))
	}
	encoder := json.NewEncoder(t.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}
