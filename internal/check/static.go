package check

import (
	"context"
	"slices"

	"portmap/internal/boot"
	"portmap/internal/finding"
	"portmap/internal/others"
	"portmap/internal/servers"
	"portmap/rules"
)

// Facts is what the findings that need no packet are made from.
type Facts struct {
	Mappings []rules.Mapping
	Servers  servers.Found // with their processes
	Others   others.Rules
	Filters  others.Filters
	Boot     boot.Host
	Files    []string // configuration files of this network namespace
	Root     string   // the folder of this host's files; "" for /
}

// mostLooked is for how many mappings findings are looked for that need a look at the host for each.
const mostLooked = 100

// staticFindings returns what can be found out without a packet, and is found out by no other command. What may not be
// looked at is left out.
func staticFindings(ctx context.Context, in Facts) []finding.Finding {
	k := kernel(in.Root)
	few := in.Mappings[:min(len(in.Mappings), mostLooked)]
	var list []finding.Finding
	for _, m := range few {
		for _, f := range slices.Concat(ipv6Off(k, m), interfaceDown(m), servers.Backlogged(m, in.Servers),
			capabilityLeft(m, in.Servers.Of(m)), in.Servers.LeavesOut(m)) {
			if !slices.ContainsFunc(list, func(said finding.Finding) bool { return said.Text == f.Text }) {
				list = append(list, f)
			}
		}
	}
	return slices.Concat(list,
		reversePath(k, few), conntrackFull(k), in.Filters.Bans(few), others.Back(in.Others),
		ephemeralPort(k, in.Mappings), unprivilegedPorts(k, in.Mappings),
		certbotStandalone(in.Root, in.Mappings, in.Servers),
		in.Boot.Failed(ctx), twoFiles(in.Files))
}
