package main

import (
	"os"

	"portmap/internal/demo"

	"github.com/spf13/cobra"
)

func (a *app) demo() *cobra.Command {
	var guards bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all in a throw-away network: server, mapping, client; needs no root and touches nothing",
		Example: `  portmap demo
  portmap demo --guards            # another user takes the port of the server, and cannot answer`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.flushOutput(); err != nil {
				return err
			}
			script := demo.Mapping
			if guards {
				script = demo.Guards
			}
			return wrap(demo.Run(cmd.Context(), os.Stdout, script), "demo")
		},
	}
	cmd.Flags().BoolVar(&guards, "guards", false, "show --owner and --hide: a squatter on the target port is muted")
	return cmd
}

// demoStage is what the demonstration runs in its namespaces.
func (a *app) demoStage() *cobra.Command {
	return &cobra.Command{
		Use:    "demo-stage NAME",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Stage(cmd.Context(), args[0])
		},
	}
}
