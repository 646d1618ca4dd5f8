package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"portmap/internal/finding"
	"portmap/internal/reconcile"

	"github.com/spf13/cobra"
)

func (a *app) list() *cobra.Command {
	var output string
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:        "list",
		SuggestFor: []string{"dump", "print"},
		Aliases:    []string{"ls", "status", "show", "ps"},
		Short:      "Show every mapping, saved or live: its state, the server behind it, connections so far",
		Long: `Show every mapping, saved or live.

States:
  active      live, and a server listens on the target port
  no server   nothing listens on the target port
  blocked     who listens there is not the owner of --owner, and cannot answer
  local only  who listens there is bound to loopback, and other hosts do not reach it
  partly      nothing listens for one protocol or address family of the mapping
  missing     saved, but not in the kernel: sudo portmap apply puts it there
  damaged     somebody changed the rules in the kernel: sudo portmap apply makes them again
  temporary   live, but in no file
  unknown     saved; to know more needs root

A state that is not active has its reason in wide and json, and its remedy below the table.

If a line of the file is wrong, the other mappings are shown, the error names the line, and the exit code is that of the
error.`,
		Example: `  portmap list
  portmap list -o wide
  portmap list -o json
  portmap list --watch
  portmap list -o plain | portmap apply -f -      # changes nothing`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				if cmd.Flags().Changed("output") && output != "json" {
					return usageError{fmt.Errorf("--json and -o %s: write one of them", output)}
				}
				output = "json"
			}
			show, ok := a.formats()[output]
			if !ok {
				return usageError{fmt.Errorf("-o %s: not a format: write table, wide, json or plain", output)}
			}
			return wrap(a.with(func(h *reconcile.Host) error {
				if watch {
					return a.watchList(cmd.Context(), h, show)
				}
				listing, err := h.List(cmd.Context())
				if err != nil {
					return err
				}
				a.noteNoFile(listing.NoFile)
				if err := show(listing); err != nil {
					return err
				}
				if output == "table" || output == "wide" { // a person reads it
					a.noteListing(cmd.Context(), listing, output == "wide")
				}
				return cmp.Or(listing.Wrong, listing.Denied)
			}), "list")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "the `FORMAT`: table, wide, json or plain")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the same as -o json")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again each second, until interrupted")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "plain"},
		cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) formats() map[string]func(reconcile.Listing) error {
	return map[string]func(reconcile.Listing) error{
		"table": func(l reconcile.Listing) error { return a.table(l, false) },
		"wide":  func(l reconcile.Listing) error { return a.table(l, true) },
		"json":  a.json,
		"plain": a.plain,
	}
}

// watchList ends without error when it is interrupted: that is how it is meant to end.
func (a *app) watchList(ctx context.Context, h *reconcile.Host, show func(reconcile.Listing) error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		listing, err := h.List(ctx)
		if ctx.Err() != nil {
			return exitError(exitDone)
		}
		if err != nil {
			return err
		}
		if a.tty {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, clear: ECMA-48 CUP and ED
		}
		if err := show(listing); err != nil {
			return err
		}
		if a.tty { // what is below is cleared, too
			listing.Notes = nil
			a.notes(listing.Findings()...)
		} else {
			a.notes(listing.Damage()...)
		}
		if listing.Denied != nil {
			return listing.Denied
		}
		if listing.Wrong != nil { // it may be in the middle of an edit
			a.notes(finding.Finding{ID: finding.FileInvalid, Text: a.withoutQuotes(listing.Wrong).Error()})
		}
		if err := a.flushOutput(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return exitError(exitDone)
		case <-tick.C:
		}
	}
}

// plain prints the file as it is, and behind it what only the kernel has: fed to apply, it changes nothing, or saves
// what was lost. Temporary mappings are in no file, so not here either. Of a file that is wrong and not to be shown,
// its mappings are.
func (a *app) plain(l reconcile.Listing) error {
	a.notes(l.Damage()...)
	text := l.File
	if l.Wrong != nil && a.notShown != nil {
		text = savedLines(l)
	}
	fmt.Fprint(a.out, text)
	if n := len(text); n > 0 && text[n-1] != '\n' && len(l.Unsaved()) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, m := range l.Unsaved() {
		fmt.Fprintln(a.out, m)
	}
	return nil
}

func savedLines(l reconcile.Listing) string {
	var b strings.Builder
	for _, row := range l.Rows {
		if row.Saved {
			fmt.Fprintln(&b, row.Mapping)
		}
	}
	return b.String()
}
