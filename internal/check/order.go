package check

import (
	"cmp"
	"slices"
	"sort"

	"portmap/internal/finding"
)

// stages are the causes in the order in which a packet meets them: it arrives, is tracked, translated, routed,
// filtered, and comes to a socket; then the answer goes back.
var stages = [][]finding.ID{
	{finding.IPv6Off, finding.InterfaceAbsent, finding.InterfaceAltname, finding.InterfaceDown, finding.AddressAbsent},
	{finding.Untracked, finding.ConntrackDrops, finding.ConntrackFull},
	{finding.ForeignRuleFirst, finding.ForeignRuleTied, finding.RulesMissing, finding.RulesDamaged,
		finding.RulesForeign, finding.OtherBackend, finding.RedirectBack, finding.NotTranslated},
	{finding.ReversePath, finding.SwitchOff, finding.ForwardingOff},
	{finding.RuleDrops, finding.FirewallDrops, finding.ForwardDropped},
	{finding.ServerBlocked, finding.PortsSwapped, finding.NoServer, finding.LoopbackOnly, finding.ServerPartly,
		finding.SocketBacklog, finding.TargetRefuses, finding.TargetSilent, finding.KernelDrops},
	{finding.AnswerDropped, finding.PortLeaked},
}

func stageOf(id finding.ID) int {
	for i, ids := range stages {
		if slices.Contains(ids, id) {
			return i
		}
	}
	return len(stages)
}

func rank(s finding.Severity) int {
	return slices.Index([]finding.Severity{finding.Broken, finding.Risk, finding.Hint}, s)
}

func sortFindings(list []finding.Finding) {
	sort.SliceStable(list, func(i, k int) bool {
		a, b := list[i], list[k]
		return cmp.Or(cmp.Compare(rank(a.Severity()), rank(b.Severity())),
			cmp.Compare(stageOf(a.ID), stageOf(b.ID))) < 0
	})
}

// refutable reports whether packets that reach a server show that a cause is none: it was read off rules and settings,
// and these can be read wrongly.
func refutable(id finding.ID) bool {
	return slices.Contains([]finding.ID{finding.Untracked, finding.ForeignRuleFirst, finding.FirewallDrops,
		finding.ForwardDropped, finding.ForwardingOff}, id)
}

// settledBy returns the causes of which packets have shown more than rules do, whatever is read off the rules.
func settledBy(explained []finding.Finding) (ids []finding.ID) {
	for _, f := range explained {
		switch f.ID {
		case finding.ForeignRuleFirst:
			ids = append(ids, finding.ForeignRuleFirst, finding.ForeignRuleTied, finding.ForeignRuleShadowed)
		case finding.FirewallDrops:
			ids = append(ids, finding.FirewallDrops, finding.ForwardDropped)
		}
	}
	return ids
}

// isCause reports whether a finding says why a packet does not reach a server.
func isCause(f finding.Finding) bool {
	return f.Severity() == finding.Broken && stageOf(f.ID) < len(stages) && !symptom(f.ID)
}

// symptom reports whether a finding says only what became of a packet: with a cause beside it, it says nothing new.
func symptom(id finding.ID) bool {
	return slices.Contains([]finding.ID{finding.NotTranslated, finding.TargetSilent, finding.KernelDrops}, id)
}
