package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/rules"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) add() *cobra.Command {
	var o reconcile.AddOptions
	var force bool
	var words []string
	cmd := &cobra.Command{
		Use:        "add MAPPING...",
		SuggestFor: []string{"create", "new", "map", "forward", "redirect"},
		Short:      "Install mappings in the kernel and save them",
		Long: `Install mappings in the kernel and save them: all of them or none. The options are those of each mapping.

A mapping is [LISTEN_ADDR:]PORTS:[TARGET_ADDR:]PORTS[/PROTO[,PROTO]]. On a terminal, what was added is followed by the
addresses at which it can be reached now, who answers there, and what is still missing.

Refused, unless --force: to take the port of your SSH connection or of sshd, to take a port from a server while nobody
listens on the target port, and a mapping that is the wrong way round.

A target with an address can be another host: its server then sees this host's address as that of its clients. Several
targets share new connections evenly.

With --owner, only a server of that user or of root can send anything through the mapping. With --hide, other hosts
reach the server only by the mapping.`,
		Example: `  portmap add 443:8443                          # tcp, IPv4 and IPv6
  portmap add 443:8443/tcp,udp --name shop      # HTTP/2 and HTTP/3
  portmap add 80:8080 443:8443
  portmap add 192.0.2.7:443:8443 '[2001:db8::7]:443:8443'
  portmap add 8000-8010:9000-9010
  portmap add 443:10.0.0.5:8443 --forward       # a server on another host
  portmap add 443:8443,9443                     # two servers share the connections
  portmap add 443:127.0.0.1:8443                # a server that listens on loopback only
  portmap add 5432:15432 --source 10.0.0.0/8
  portmap add 443:8443 --owner www-data --hide  # only this user's server answers, and only on 443
  portmap add 443:9443 --replace`,
		Args: func(_ *cobra.Command, specs []string) error {
			if len(specs) == 0 {
				return usageError{errAddWhat}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, specs []string) error {
			mappings, err := a.parseAll(specs, words)
			if err != nil {
				return err
			}
			found, err := servers.Find(mappings)
			if err != nil {
				a.say("%v", err) // advice is all that is lost
			}
			return wrap(a.runAdd(cmd.Context(), mappings, &found, o, force), "add %s", list(mappings))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	for _, option := range rules.Options() {
		addOption(flags, option, &words)
	}
	flags.BoolVar(&o.Replace, "replace", false, "take the place of a mapping that is in the way, in one step")
	flags.BoolVar(&force, "force", false, "add it even if it cuts off your SSH connection, or the clients of a server")
	flags.BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	endUsage(cmd, refused())
	return cmd
}

func (a *app) runAdd(ctx context.Context, mappings []rules.Mapping, found *servers.Found, o reconcile.AddOptions,
	force bool) error {
	return a.with(func(h *reconcile.Host) error {
		if !force {
			h.Guard = a.guardServers(found)
		}
		report, err := h.Add(ctx, mappings, o)
		if err != nil {
			return err
		}
		a.outcomes(report, o.DryRun)
		if !o.DryRun {
			a.reached(report, found)
		}
		a.noteServers(ctx, report, *found)
		a.noteOthers(ctx, report)
		if !o.DryRun {
			a.pointAfter(report)
			a.noteBoot(report)
		}
		return nil
	})
}

// parseAll gives each mapping the same options.
func (a *app) parseAll(specs, words []string) ([]rules.Mapping, error) {
	parser := rules.Parser{Services: lookupPort, Users: a.users.UID}
	mappings := make([]rules.Mapping, 0, len(specs))
	for i, spec := range specs {
		m, err := parser.ParseWords(append([]string{spec}, words...))
		if err != nil {
			return nil, twoWords(err, specs[i:], parser)
		}
		mappings = append(mappings, m)
	}
	return mappings, nil
}

// twoWords recognizes a mapping whose two sides were written as two arguments: 443 8443.
func twoWords(err error, specs []string, parser rules.Parser) error {
	var invalid *rules.InvalidError
	if !errors.As(err, &invalid) || len(specs) < 2 {
		return err
	}
	listen, protocols, slash := strings.Cut(specs[0], "/")
	spec := listen + ":" + specs[1]
	if slash {
		spec += "/" + protocols
	}
	if _, wrong := parser.Parse(specs[1]); wrong == nil {
		return err // the next argument is a mapping by itself
	}
	if m, wrong := parser.Parse(spec); wrong == nil {
		invalid.Fix = "write " + strings.TrimSuffix(m.Spec(), "/tcp")
	}
	return err
}

// refused says what this version does not take; "" if there is nothing.
func refused() string {
	var parts []string
	for _, option := range rules.Options() {
		if option.Later {
			parts = append(parts, "--"+option.Name)
		}
	}
	return "Not supported by this version: " + strings.Join(parts, ", ") + "."
}

// endUsage puts a line behind the usage text of a command.
func endUsage(cmd *cobra.Command, line string) {
	usage := cmd.UsageFunc()
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		if err := usage(cmd); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStderr(), "\n"+line)
		return err
	})
}

// optionFlag collects an option of a mapping as the words that it is in the file, where its grammar is known.
type optionFlag struct {
	option rules.Option
	words  *[]string
}

func addOption(flags *pflag.FlagSet, option rules.Option, words *[]string) {
	f := flags.VarPF(optionFlag{option, words}, option.Name, option.Shorthand, option.Usage)
	f.Hidden = option.Later
	if option.Argument == "" {
		f.NoOptDefVal = "true"
	}
}

// Set takes of a switch what pflag takes of its own; the last counts. What else is given to one the grammar refuses, as
// in the file.
func (f optionFlag) Set(value string) error {
	word := "--" + f.option.Name
	if on, err := strconv.ParseBool(value); f.option.Argument == "" && err == nil {
		if *f.words = slices.DeleteFunc(*f.words, func(w string) bool { return w == word }); !on {
			return nil
		}
	} else {
		word += "=" + value
	}
	*f.words = append(*f.words, word)
	return nil
}

func (f optionFlag) String() string { return "" }

func (f optionFlag) Type() string {
	if f.option.Argument == "" {
		return "bool"
	}
	return f.option.Argument
}

func list(mappings []rules.Mapping) string {
	texts := make([]string, 0, len(mappings))
	for i, m := range mappings {
		if i == 3 {
			texts = append(texts, "...")
			break
		}
		texts = append(texts, m.Spec())
	}
	return strings.Join(texts, " ")
}
