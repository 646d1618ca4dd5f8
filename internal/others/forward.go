package others

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Barrier is a chain of another tool that drops what this host sends on, unless one of its rules accepts it.
type Barrier struct {
	System   System
	Table    string // "ip filter"; of iptables-legacy "filter of iptables-legacy"
	Chain    string
	families rules.Families
	program  string // of iptables: by which it is changed
}

// Barriers finds the chains whose policy drops what this host sends on, as Docker sets it. It does not look at their
// rules. It needs CAP_NET_ADMIN. With an error some may be missing.
func Barriers(ctx context.Context) (list []Barrier, err error) {
	all, err := chains()
	for _, c := range all {
		if !c.base || c.hook != unix.NF_INET_FORWARD || !c.drops {
			continue
		}
		b := Barrier{System: Tables, Table: c.String(), Chain: c.name, families: c.families()}
		if c.table.name == "filter" && c.name == "FORWARD" && c.families() != rules.BothFamilies {
			b.System, b.program = IPTables, map[rules.Families]string{rules.IPv4: "iptables",
				rules.IPv6: "ip6tables"}[c.families()]
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Barrier) int { return strings.Compare(a.Table+a.Chain, b.Table+b.Chain) })
	for family, program := range map[rules.Families][2]string{
		rules.IPv4: {"iptables-legacy", "ip_tables_names"}, rules.IPv6: {"ip6tables-legacy", "ip6_tables_names"},
	} {
		drops, failed := legacyDrops(ctx, program[0], program[1])
		if err = errors.Join(err, failed); drops {
			list = append(list, Barrier{Legacy, "filter of " + program[0], "FORWARD", family, program[0]})
		}
	}
	return list, err
}

// legacyDrops asks iptables-legacy for the policy, only where it has the table: to run it would make that.
func legacyDrops(ctx context.Context, program, tables string) (bool, error) {
	names, _ := os.ReadFile("/proc/thread-self/net/" + tables) // not there: no such tables
	path := find(program)
	if path == "" || !slices.Contains(strings.Fields(string(names)), "filter") {
		return false, nil
	}
	cmd := exec.CommandContext(ctx, path, "-S", "FORWARD")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, err := cmd.Output()
	return strings.HasPrefix(string(out), "-P FORWARD DROP\n"), err
}

// AdviseBarriers tells of the barriers that stand before targets of added mappings on other hosts, one finding for each
// mapping and barrier, with the rules that let these connections pass, and no others.
func AdviseBarriers(list []Barrier, added []rules.Mapping) (advice []finding.Finding) {
	for _, m := range added {
		for _, b := range list {
			families := m.RemoteFamilies() & b.families
			if families == 0 {
				continue
			}
			advice = append(advice, finding.Finding{
				ID: finding.ForwardDropped, Mapping: m,
				Text: fmt.Sprintf("table %s, chain %s drops what it does not know, and so connections of %s",
					b.Table, rules.Printable(b.Chain), m.Spec()),
				Remedy: strings.Join(b.pass(&m, families), " && "),
			})
		}
	}
	return advice
}

// pass returns the commands that let the connections of a mapping pass, in both directions: connection tracking knows
// the port that the client used, and who answers.
func (b Barrier) pass(m *rules.Mapping, families rules.Families) (commands []string) {
	for _, family := range families.Each() {
		for _, t := range m.TargetsIn(family) {
			for _, protocol := range m.Protocols().Each() {
				if b.program != "" {
					commands = append(commands, fmt.Sprintf("sudo %s -I %s -p %s -m conntrack --ctstate DNAT "+
						"--ctorigdstport %s --ctreplsrc %s --ctreplsrcport %s -j ACCEPT", b.program, b.Chain, protocol,
						colon(m.ListenPorts()), t.Addr, colon(t.Ports)))
				} else {
					commands = append(commands, fmt.Sprintf("sudo nft insert rule %s %s meta l4proto %s "+
						"ct status dnat ct original proto-dst %s ct reply %s saddr %s ct reply proto-src %s accept",
						b.Table, b.Chain, protocol, m.ListenPorts(), ipWord(t.Addr), t.Addr, t.Ports))
				}
			}
		}
	}
	return commands
}

func colon(p rules.Ports) string { return strings.Replace(p.String(), "-", ":", 1) }

func ipWord(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}
