package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"portmap/internal/accounts"
	"portmap/internal/filters"
	"portmap/internal/finding"
	"portmap/internal/reconcile"
	"portmap/internal/rundir"
	"portmap/internal/shell"
	"portmap/internal/store"
	"portmap/rules"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const defaultConfig = "/etc/portmap/portmap.conf"

// app is one run of the command: where it reads and writes, and what the global flags say.
type app struct {
	in     io.Reader
	out    *bufio.Writer
	err    io.Writer
	tty    bool // a person reads what is printed
	getenv func(string) string
	args   []string
	users  accounts.Users

	backend string
	auto    bool // --backend auto was typed: what the file says does not count
	config  string
	quiet   bool
	verbose bool
	started bool   // flags and arguments were understood
	changed bool   // the command did what it was asked to, and that was a change
	name    string // of the command that was started
	said    []finding.ID

	notShown *notShown // mostly nil
}

func (a *app) execute(ctx context.Context) int {
	root := a.root()
	root.SetArgs(a.args)
	err := root.ExecuteContext(ctx)
	if flushErr := a.flushOutput(); err == nil && flushErr != nil {
		err = &outputError{flushErr}
	}
	return a.report(ctx, err)
}

func (a *app) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "portmap",
		Short: "Put a server that runs unprivileged on a high port on a public one, in the kernel",
		Example: `  portmap add 443:8443             # https on the public port, the server stays on 8443
  portmap add 443:8443/tcp,udp     # HTTP/2 and HTTP/3
  portmap list
  portmap remove 443
  portmap demo                     # see it work, in a throw-away network; needs no root`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.started, a.name = true, cmd.Name()
			a.auto = a.backend == "auto" && cmd.Flags().Changed("backend")
			a.lookAtConfig()
		},
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				a.printVersion()
				return nil
			}
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2, // letters that differ; 0 would suggest nothing
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if words := cmd.Flags().Args(); !cmd.HasParent() && len(words) > 0 {
			return &commandError{cmd, words[0]} // the flag is that of a command whose name is misspelt
		}
		return flagError(err)
	})
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	flags := root.PersistentFlags()
	backends := append([]string{"auto"}, filters.Names(filters.All(nil))...)
	flags.StringVar(&a.backend, "backend", "auto", "packet filter to use: `"+strings.Join(backends, "|")+"`")
	_ = root.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions(backends, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&a.config, "config", defaultConfig, "the `FILE` with the saved mappings")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print errors only")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say what is done")
	root.AddCommand(a.add(), a.remove(), a.list(), a.apply(), a.diff(), a.flush(), a.watch(), a.enable(), a.disable(),
		a.export(), a.check(), a.trace(), a.demo(), a.demoStage(), a.manual(), a.version())
	if !slices.ContainsFunc(a.args, completes) {
		takeOnce(root.PersistentFlags())
		for _, cmd := range root.Commands() {
			takeOnce(cmd.Flags())
		}
	}
	return root
}

// completes reports whether a word asks for completions: cobra then reads the same flags several times.
func completes(word string) bool {
	return word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd
}

// flagError says of a value that its flag does not take what it takes.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	why := invalid.Unwrap().Error()
	switch kind := invalid.GetFlag().Value.Type(); {
	case errors.Is(err, errTwice):
	case kind == "int":
		why = "not a number"
	case kind == "duration":
		why = "not a time: write one as 30s or 5m"
	case kind == "bool":
		why = "not true or false"
	}
	return fmt.Errorf("--%s %s: %s", invalid.GetFlag().Name, rules.Printable(invalid.GetValue()), why)
}

// takeOnce has each flag with a value refuse a second one: which of two files or packet filters is meant cannot be
// known. Those of a mapping have the rules of its grammar, and lists add up.
func takeOnce(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		_, ofMapping := f.Value.(optionFlag)
		_, isList := f.Value.(pflag.SliceValue)
		if !ofMapping && !isList && f.NoOptDefVal == "" {
			f.Value = &onceValue{Value: f.Value}
			if f.DefValue == "0s" {
				f.DefValue = "" // help leaves out a zero default, and knows it of pflag's own types only
			}
		}
	})
}

var errTwice = errors.New("given twice")

type onceValue struct {
	pflag.Value
	given bool
}

func (v *onceValue) Set(value string) error {
	if v.given {
		return errTwice
	}
	v.given = true
	return v.Value.Set(value)
}

func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasParent():
		return usageError{fmt.Errorf("%s takes no arguments, and got %s", cmd.Name(), strings.Join(args, " "))}
	}
	return &commandError{cmd, args[0]}
}

// host is this machine, with the file and the packet filter that the flags name.
func (a *app) host() *reconcile.Host {
	h := &reconcile.Host{
		Kinds: filters.All(a.users.UID), File: a.file(), Services: lookupPort, Users: a.users.UID,
		Forget: reconcile.ForgetFlows, Run: rundir.Open(), Redact: a.withoutQuotes, Command: a.here,
	}
	if h.Unfix = a.auto; a.backend != "auto" {
		h.Choice = a.backend
	}
	if a.verbose {
		h.Opened = func(f *filters.Opened) {
			a.say("backend %s, file %s", f.Description(context.Background()), a.config)
		}
	}
	return h
}

func (a *app) file() *store.File { return store.At(a.config) }

// saved returns the mappings of the file: what needs no kernel.
func (a *app) saved(ctx context.Context) (rules.Set, error) {
	h := reconcile.Host{Kinds: filters.All(nil), File: a.file(), Services: lookupPort, Users: a.users.UID}
	text, err := h.Saved(ctx)
	return text.Set(), err
}

// flushOutput brings out what was printed so far.
func (a *app) flushOutput() error { return a.out.Flush() }

// with runs a command's work on a host.
func (a *app) with(work func(*reconcile.Host) error) error {
	h := a.host()
	defer h.Close()
	return work(h)
}

// say tells what is done, with -v.
func (a *app) say(format string, args ...any) {
	if a.verbose {
		_ = a.flushOutput() // both streams often end on one terminal: in the order in which things were said
		fmt.Fprintf(a.err, "portmap: "+format+"\n", args...)
	}
}

// note tells what a person should know, without -q.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		_ = a.flushOutput()
		fmt.Fprintf(a.err, "portmap: "+format+"\n", args...)
	}
}

func lookupPort(network, name string) (int, error) { return net.LookupPort(network, name) }

// command returns the line that was typed, with more words behind it, ready to be pasted.
func (a *app) command(more ...string) string { return pasted(slices.Concat(a.args, more)) }

// here returns another command for the same file.
func (a *app) here(words ...string) string {
	if a.config != defaultConfig {
		words = append([]string{"--config", a.config}, words...)
	}
	return pasted(words)
}

// pasted returns a command line for a shell. What it does needs root.
func pasted(words []string) string {
	return shell.Join(append([]string{"sudo", "portmap"}, words...)...)
}
