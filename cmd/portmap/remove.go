package main

import (
	"strings"

	"portmap/internal/reconcile"
	"portmap/rules"

	"github.com/spf13/cobra"
)

func (a *app) remove() *cobra.Command {
	var all, dryRun bool
	cmd := &cobra.Command{
		Use:        "remove MAPPING|LISTEN|NAME...",
		SuggestFor: []string{"drop", "unmap", "uninstall"},
		Aliases:    []string{"rm", "delete", "del"},
		Short:      "Take mappings out of the kernel and the file",
		Example: `  portmap remove 443
  portmap remove 443/tcp 80
  portmap remove shop
  portmap remove '443:8443/tcp --source 10.0.0.0/8'
  portmap remove --all`,
		Args: func(_ *cobra.Command, args []string) error {
			if all != (len(args) == 0) {
				return usageError{errRemoveWhat}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			subject := strings.Join(args, " ")
			if all {
				subject = "--all"
			}
			return wrap(a.with(func(h *reconcile.Host) error {
				var report reconcile.Report
				var err error
				if all {
					report, err = h.RemoveAll(cmd.Context(), dryRun)
				} else {
					report, err = h.Remove(cmd.Context(), args, dryRun)
				}
				if err == nil {
					a.outcomes(report, dryRun)
				}
				return err
			}), "remove %s", subject)
		},
		ValidArgsFunction: a.completeMappings,
	}
	cmd.Flags().BoolVar(&all, "all", false, "every mapping, temporary ones too")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

// completeMappings offers what is live and what is saved; without the right to look at the kernel, what is saved.
func (a *app) completeMappings(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var mappings []rules.Mapping
	err := a.with(func(h *reconcile.Host) error {
		listing, err := h.List(cmd.Context())
		for i := range listing.Rows {
			mappings = append(mappings, listing.Rows[i].Mapping)
		}
		return err
	})
	if err != nil {
		saved, _ := a.saved(cmd.Context()) // what cannot be read offers nothing
		mappings = saved.Mappings()
	}
	var words []string
	for _, m := range mappings {
		words = append(words, m.Spec())
		if name := m.Name(); name != "" {
			words = append(words, name+"\t"+m.Spec())
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
