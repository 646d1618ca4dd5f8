package main

import (
	"fmt"

	"portmap/ipt"
	"portmap/nft"
	"portmap/rules"

	"github.com/spf13/cobra"
)

func (a *app) export() *cobra.Command {
	var format string
	var ipv6 bool
	cmd := &cobra.Command{
		Use:   "export --format nft|iptables",
		Short: "Print the saved mappings as rules, to read or to carry",
		Long: `Print the saved mappings as rules that do the same. It needs no root, and touches nothing.

What is loaded is live as if portmap had put it there: list shows it, remove takes it away. nft takes all in one file, and
puts it in the place of what is there. iptables has a program and a file for each family, and adds to what is there.`,
		Example: `  portmap export --format nft | sudo nft -f -
  portmap export --format iptables | sudo iptables-restore --noflush
  portmap export --format iptables -6 | sudo ip6tables-restore --noflush
  portmap export --format nft > portmap.nft`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "nft" && format != "iptables" {
				return usageError{fmt.Errorf("--format %s: not a format: write nft or iptables", format)}
			}
			saved, err := a.saved(cmd.Context())
			switch {
			case err != nil:
			case format == "nft":
				err = nft.WriteText(a.out, saved)
			case ipv6:
				err = ipt.WriteText(a.out, saved, rules.IPv6)
			default:
				err = ipt.WriteText(a.out, saved, rules.IPv4)
			}
			return what(err, "export")
		},
	}
	cmd.Flags().BoolVarP(&ipv6, "ipv6", "6", false, "with --format iptables: the rules of IPv6, not those of IPv4")
	cmd.Flags().StringVar(&format, "format", "nft", "nft or iptables")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"nft", "iptables"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
