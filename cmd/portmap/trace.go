package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"portmap/internal/reconcile"
	"portmap/internal/trace"
	"portmap/rules"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// tracesPerSecond bounds how many packets are followed: each that is costs the kernel some microseconds a rule.
const tracesPerSecond = 10

// traceOptions are the flags of trace.
type traceOptions struct {
	output  string
	count   int
	sources []string
}

func (a *app) trace() *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:        "trace LISTEN|NAME",
		SuggestFor: []string{"follow", "monitor", "sniff", "log"},
		Short:      "Show the way of real clients' first packets through the host's rules, live",
		Long: `Show the way of real clients' first packets through the host's rules, live, until Ctrl-C.

For each new connection to the mapping, trace prints each rule of nftables and of iptables-nft that its first packet
meets, what the rule does, and where the packet goes. Whether a server answers there, portmap check says. At most ` +
			fmt.Sprint(tracesPerSecond) + `
packets a second are followed; the others pass as ever. The rules of iptables-legacy report nothing; where the packet
goes is seen all the same.

TCP is followed from before all rules, UDP from behind connection tracking: only there a first datagram is known.`,
		Example: `  portmap trace 443
  portmap trace 443 --count 1 --source 203.0.113.7
  portmap trace 443 -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("trace: name one mapping, such as `portmap trace 443`")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return wrap(a.runTrace(cmd.Context(), args[0], o), "trace")
		},
		ValidArgsFunction: a.completeMappings,
	}
	cmd.Flags().IntVar(&o.count, "count", 0, "end after `N` packets; 0 is never")
	cmd.Flags().StringSliceVar(&o.sources, "source", nil, "only clients from these networks: `CIDR[,CIDR]`")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "the `FORMAT`: text or json, an object a line")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"},
		cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runTrace(ctx context.Context, selector string, o traceOptions) error {
	switch o.output {
	case "text", "json":
	default:
		return usageError{fmt.Errorf("-o %s: not a format: write text or json", o.output)}
	}
	if o.count < 0 {
		return usageError{fmt.Errorf("--count %d: must not be negative", o.count)}
	}
	sources, err := networks(o.sources)
	if err != nil {
		return err
	}
	m, err := a.oneLive(ctx, selector)
	if err != nil {
		return err
	}
	tracer, err := trace.Open(selectionsOf(m, sources)...)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return errors.New("this kernel has no nf_tables, which alone reports the way of packets")
	}
	if err != nil {
		return err
	}
	defer tracer.Close()
	a.note("waiting for new connections to %s; Ctrl-C ends", m.Spec())
	print := tracePrinter{app: a, mapping: m}
	defer print.texts.Close()
	show := print.text
	if o.output == "json" {
		show = print.json
	}
	err = a.follow(ctx, tracer, o.count, show)
	if tracer.Lost {
		a.note("the kernel reported more than could be read: some packets are missing")
	}
	return err
}

// follow prints packets until there are enough, or until it is interrupted, which is how it is meant to end.
func (a *app) follow(ctx context.Context, tracer *trace.Tracer, count int,
	show func(context.Context, *trace.Packet) error) error {
	for shown := 0; count == 0 || shown < count; shown++ {
		p, err := tracer.Next(ctx)
		if ctx.Err() != nil {
			return exitError(exitDone)
		}
		if err != nil {
			return err
		}
		if err := show(ctx, p); err != nil {
			return err
		}
		if err := a.flushOutput(); err != nil {
			return err
		}
	}
	return nil
}

// oneLive returns the mapping that is meant: whose rules are in the kernel, since nothing can be followed else.
func (a *app) oneLive(ctx context.Context, selector string) (m rules.Mapping, err error) {
	err = a.with(func(h *reconcile.Host) error {
		listing, err := h.List(ctx, selector)
		rows := listing.Rows
		switch {
		case err != nil:
			return err
		case listing.Denied != nil:
			return listing.Denied
		case len(rows) > 1:
			return &reconcile.SelectError{Selector: selector, Found: mappingsOf(rows)}
		case rows[0].State == reconcile.Missing:
			return fmt.Errorf("%s is not in the kernel; `%s` puts it there", rows[0].Mapping.Spec(), a.here("apply"))
		}
		m = rows[0].Mapping
		return nil
	})
	return m, err
}

// selectionsOf picks the first packets of a mapping, of each protocol.
func selectionsOf(m rules.Mapping, sources []netip.Prefix) (list []trace.Selection) {
	if len(sources) == 0 {
		sources = m.Sources()
	}
	if len(sources) == 0 && m.Families() != rules.BothFamilies {
		every := map[rules.Families]string{rules.IPv4: "0.0.0.0/0", rules.IPv6: "::/0"}[m.Families()]
		sources = []netip.Prefix{netip.MustParsePrefix(every)}
	}
	for _, p := range m.Protocols().Each() {
		list = append(list, trace.Selection{Protocol: p, Ports: m.ListenPorts(), To: m.Listen(), Sources: sources,
			In: m.Interface(), PerSecond: tracesPerSecond})
	}
	return list
}

// networks reads --source: networks, or single addresses.
func networks(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return nil, usageError{fmt.Errorf("--source %s: not a network: write one as 203.0.113.0/24", text)}
		}
		list = append(list, network.Masked())
	}
	return list, nil
}
