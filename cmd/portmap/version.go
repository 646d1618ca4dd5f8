package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = "development"

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  portmap version",
		Args:    noArgs,
		Run:     func(*cobra.Command, []string) { a.printVersion() },
	}
}

func (a *app) printVersion() {
	fmt.Fprintf(a.out, "portmap %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
