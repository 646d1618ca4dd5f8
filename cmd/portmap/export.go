package main

import (
	"fmt"
	"slices"
	"strings"

	"portmap/internal/filters"
	"portmap/rules"

	"github.com/spf13/cobra"
)

func (a *app) export() *cobra.Command {
	var format string
	var ipv6 bool
	kinds := filters.All(nil)
	formats := filters.Names(kinds)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the saved mappings as rules, to read or to carry",
		Long: `Print the saved mappings as rules that do the same. It needs no root, and touches nothing.

Once loaded, the rules are portmap's: list shows them, remove takes them away. The output for nft has both families,
and replaces the table inet portmap. The output for iptables has one family, and its rules are added to those that are
there.`,
		Example: `  portmap export --format nft | sudo nft -f -
  portmap export --format iptables | sudo iptables-restore --noflush
  portmap export --format iptables -6 | sudo ip6tables-restore --noflush
  portmap export --format nft > portmap.nft`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind := slices.IndexFunc(kinds, func(k filters.Kind) bool { return k.Name == format })
			if kind < 0 {
				return usageError{fmt.Errorf("--format %s: not a format: write %s", format, filters.Or(formats))}
			}
			family := rules.IPv4
			if ipv6 {
				family = rules.IPv6
			}
			saved, err := a.saved(cmd.Context())
			if err == nil {
				err = kinds[kind].Export(a.out, saved, family)
			}
			return wrap(err, "export")
		},
	}
	cmd.Flags().BoolVarP(&ipv6, "ipv6", "6", false, "with --format iptables: the rules of IPv6, not those of IPv4")
	cmd.Flags().StringVar(&format, "format", formats[0], "write for `"+strings.Join(formats, "|")+"`")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
