package main

import (
	"fmt"

	"portmap/nft"
	"portmap/rules"

	"github.com/spf13/cobra"
)

func (a *app) export() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export --format nft",
		Short: "Print the saved mappings as rules, to read or to carry",
		Long: `Print the saved mappings as rules that do the same. It needs no root, and touches nothing.

What is loaded by nft is live as if portmap had put it there: list shows it, remove takes it away.`,
		Example: `  portmap export --format nft | sudo nft -f -
  portmap export --format nft > /etc/nftables.d/portmap.nft`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			switch format {
			case "nft":
			case "iptables":
				return &rules.UnsupportedError{Part: "--format iptables"}
			default:
				return usageError{fmt.Errorf("--format %s: not a format: write nft or iptables", format)}
			}
			saved, err := a.saved()
			if err != nil {
				return what(err, "export")
			}
			return what(nft.WriteText(a.out, saved), "export")
		},
	}
	cmd.Flags().StringVar(&format, "format", "nft", "nft or iptables")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"nft", "iptables"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
