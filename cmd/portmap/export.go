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
		Use:   "export",
		Short: "Print the saved mappings as rules, to read or to carry",
		Long: `Print the saved mappings as rules that do the same. It needs no root, and touches nothing.

Once loaded, the rules are portmap's: list shows them, remove takes them away. The output for nft has both families,
and replaces the table inet portmap. The output for iptables has one family, and its rules are added to those that are there.`,
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
	cmd.Flags().StringVar(&format, "format", "nft", "write for `nft|iptables`")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"nft", "iptables"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
