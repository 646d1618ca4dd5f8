package main

import (
	"fmt"
	"strconv"
	"strings"

	"portmap/rules"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manual prints a manual page (man(7)), made from the help of the commands and the options of a mapping: packages hold
// it.
func (a *app) manual() *cobra.Command {
	return &cobra.Command{
		Use:    "manual 5|8",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "8":
				a.commandPage(cmd.Root())
			case "5":
				a.filePage()
			default:
				return usageError{fmt.Errorf("manual %s: no such section", args[0])}
			}
			return nil
		},
	}
}

// roff keeps a text from meaning anything to the formatter.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

func (a *app) head(title string, section int, short string) {
	fmt.Fprintf(a.out, ".TH %s %d \"\" \"portmap %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(title), section,
		roff(version), roff(title), roff(short))
}

func (a *app) section(title, text string) {
	fmt.Fprintf(a.out, ".SH %s\n", title)
	a.text(text)
}

// text is filled, but for paragraphs with indented lines, such as tables, which keep their lines.
func (a *app) text(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		switch {
		case strings.Contains("\n"+paragraph, "\n  "):
			a.sample(paragraph)
		case i > 0:
			fmt.Fprintf(a.out, ".PP\n%s\n", roff(paragraph))
		default:
			fmt.Fprintln(a.out, roff(paragraph))
		}
	}
}

// sample is text that keeps its lines.
func (a *app) sample(text string) {
	fmt.Fprintf(a.out, ".PP\n.nf\n%s\n.fi\n", roff(text))
}

func (a *app) flagList(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		argument, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(a.out, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+argument)), roff(usage))
	})
}

func (a *app) commandPage(root *cobra.Command) {
	a.head("portmap", 8, strings.ToLower(root.Short[:1])+root.Short[1:])
	fmt.Fprintf(a.out, ".SH SYNOPSIS\n.B portmap\n[\\fIflags\\fR] \\fIcommand\\fR [\\fIarguments\\fR]\n")
	a.section("DESCRIPTION", `A mapping sends packets for one port of this host to another, in the kernel:

    [LISTEN_ADDR:]PORTS:[TARGET_ADDR:]PORTS[/PROTO[,PROTO]]

The mappings are saved in /etc/portmap/portmap.conf, see portmap.conf(5). A file that is named by --config stands
beside it: each is applied on its own and leaves the other's mappings alone. Only the first is restored at boot.`)
	a.sample(root.Example)
	fmt.Fprintln(a.out, ".SH COMMANDS")
	for _, cmd := range root.Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		fmt.Fprintf(a.out, ".SS portmap %s\n", roff(cmd.Use))
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		if cmd.Name() == "completion" {
			text = cmd.Short + "."
		}
		a.text(text)
		a.flagList(cmd.LocalNonPersistentFlags())
		if cmd.Name() == "add" {
			fmt.Fprintf(a.out, ".PP\n%s\n", roff(refused()))
		}
		if cmd.Example != "" {
			a.sample(cmd.Example)
		}
	}
	fmt.Fprintln(a.out, ".SH FLAGS OF ALL COMMANDS")
	a.flagList(root.PersistentFlags())
	a.section("EXIT STATUS",
		`0 done; 1 it failed, or diff or check found something; 2 wrong usage or an invalid mapping; 3 not permitted.

Whatever failed, the kernel and the file are as they were before.`)
	a.section("FILES",
		"/etc/portmap/portmap.conf: the saved mappings. portmap.conf.old beside it: what apply -f replaced last.\n\n"+
			"portmap-restore.service: applies them at boot. portmap-reapply.service: applies them again when another "+
			"firewall has started. portmap-watch.service: puts back what others flush; off until it is enabled.")
	a.section("SEE ALSO", "portmap.conf(5), nft(8), iptables(8), systemd(1)")
}

func (a *app) filePage() {
	a.head("portmap.conf", 5, "the saved mappings of portmap")
	a.section("DESCRIPTION",
		`One mapping a line, in the words that follow "portmap add". A # begins a comment. Edit it and type "portmap
apply", or let portmap edit it: comments and their order stay.

A line "backend nft" or "backend iptables" fixes the packet filter.

At boot an invalid line is left out, and reported: "systemctl status portmap-restore" shows its number.
"portmap apply" typed by hand applies all of the file or nothing.`)
	a.section("LIMITS", `A mapping has at most `+strconv.Itoa(rules.MaxText)+
		` bytes with its options: some 8,000 networks. For more, write several
mappings of the same ports, each with other networks. All mappings of a file have at most `+
		strconv.Itoa(rules.MaxPorts)+` listen ports together. The file has at most 64 MiB.

An option with a value is given once, except --source, whose networks add up.`)
	fmt.Fprintln(a.out, ".SH A MAPPING")
	a.sample("[LISTEN_ADDR:]PORTS:[TARGET_ADDR:]PORTS[/PROTO[,PROTO]] [OPTION...]")
	for _, part := range [...][2]string{
		{"LISTEN_ADDR",
			"an IPv4 address or a bracketed IPv6 address of this host; every local address where there is none"},
		{"PORTS", "N, N-M, or a service name; both sides have the same count and map in order, N to N"},
		{"PROTO", "tcp, udp, or both: tcp,udp; tcp where there is none"},
	} {
		fmt.Fprintf(a.out, ".TP\n.B %s\n%s\n", roff(part[0]), roff(part[1]))
	}
	fmt.Fprintln(a.out, ".SH OPTIONS")
	for _, o := range rules.Options() {
		if o.Later || o.Name == "temporary" {
			continue // the file takes neither
		}
		name := "--" + o.Name
		if o.Shorthand != "" {
			name = "-" + o.Shorthand + ", " + name
		}
		fmt.Fprintf(a.out, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+o.Argument)), roff(o.Usage))
	}
	a.section("EXAMPLE", "")
	a.sample("# what this host serves\n443:8443/tcp,udp --name shop\n" +
		"80:8080          --source 10.0.0.0/8,2001:db8::/32\n8000-8010:9000-9010")
	a.section("SEE ALSO", "portmap(8)")
}
