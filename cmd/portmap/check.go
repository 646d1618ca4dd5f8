package main

import (
	"context"
	"fmt"

	"portmap/internal/boot"
	"portmap/internal/check"
	"portmap/internal/reconcile"
	"portmap/internal/rundir"
	"portmap/internal/switches"
	"portmap/rules"

	"github.com/spf13/cobra"
)

// checkOptions are the flags of check.
type checkOptions struct {
	output           string
	fix, yes, noSend bool
}

func (a *app) check() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:        "check [LISTEN|NAME...]",
		SuggestFor: []string{"test", "doctor", "diagnose", "verify", "probe"},
		Short:      "Say whether clients reach the server behind each mapping, and if not, why and what to type",
		Long: `Say whether clients reach the server behind each mapping, and if not, why and what to type.

check sends what a client would send: from a network namespace of its own, which is joined to this host by a veth pair
and is gone afterwards. It follows the packet through the rules of nftables and iptables, names the one that stops it
and whose it is, and prints the narrowest command that cures it.

A mapping that clients reach has one line. Below another one stands the cause: how bad it is (broken, risk, hint), by
what it was seen, and the command that cures it. With -v, the whole way of each packet follows; > marks where it leaves
the way of the mapping.

check does not see a firewall of the hosting provider in front of this host. Where rules ask for a client's address or
interface, it names them, since the probe is another client. For both, try from another host.

--fix types only cures that it can undo. It prints each with the command that undoes it, and asks; y is yes.

Exit codes: 0 nothing was found but hints; 1 something was; 2 wrong usage; 3 nothing was found, and not all could be
looked at.`,
		Example: `  portmap check
  portmap check 443
  portmap check 443 -v             # the whole way of the packet
  portmap check --fix              # type the cures, after asking, and check again
  portmap check --no-probe         # send no packet
  portmap check -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output != "text" && o.output != "json" {
				return usageError{fmt.Errorf("-o %s: not a format: write text or json", o.output)}
			}
			if o.yes && !o.fix {
				return usageError{fmt.Errorf("--yes: is for --fix")}
			}
			if o.fix && o.output == "json" {
				return usageError{fmt.Errorf("--fix and -o json: write one of them")}
			}
			return wrap(a.runCheck(cmd.Context(), args, o), "check")
		},
		ValidArgsFunction: a.completeMappings,
	}
	cmd.Flags().BoolVar(&o.fix, "fix", false, "type the cures that can be undone, after asking, and check again")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "with --fix: do not ask")
	cmd.Flags().BoolVar(&o.noSend, "no-probe", false, "send no packet: nothing on this host is changed")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "the `FORMAT`: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"},
		cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) runCheck(ctx context.Context, selectors []string, o checkOptions) error {
	report, err := a.look(ctx, selectors, !o.noSend)
	if err != nil {
		return err
	}
	if o.output == "json" {
		err = a.checkJSON(report)
	} else {
		a.checkText(report, o)
	}
	if err == nil && o.fix && !report.Clean() {
		report, err = a.fix(ctx, selectors, report, o)
	}
	switch {
	case err != nil:
		return err
	case !report.Clean():
		return exitError(exitFailed)
	case report.Denied, report.Failed:
		return exitError(exitNotPermitted)
	}
	return nil
}

// look checks the mappings that are asked for.
func (a *app) look(ctx context.Context, selectors []string, probe bool) (report check.Report, err error) {
	err = a.with(func(h *reconcile.Host) error {
		listing, err := h.List(ctx, selectors...)
		if err != nil {
			return err
		}
		rows := listing.Rows
		if len(rows) == 0 {
			a.notes(listing.Findings()...) // there are none, or the file has errors
		}
		mappings := mappingsOf(rows)
		host := a.boot()
		boots := host.Advice(boot.Change{File: a.savedAt(), First: true, Legacy: listing.Legacy, Shared: listing.Shared,
			Switches: len(switches.Needed(mappings)) > 0})
		report, err = check.Run(ctx, check.Request{
			Rows: rows, Listing: listing, Probe: probe, Boot: boots, Typed: a.here,
			Facts: check.Facts{Mappings: mappings, Servers: listing.Behind, Boot: host, Files: rundir.Open().Files()},
		})
		if err == nil && listing.Wrong != nil {
			return listing.Wrong
		}
		if listing.Denied != nil {
			report.Denied = true
		}
		return err
	})
	return report, err
}

func mappingsOf(rows []reconcile.Row) []rules.Mapping {
	list := make([]rules.Mapping, 0, len(rows))
	for i := range rows {
		list = append(list, rows[i].Mapping)
	}
	return list
}
