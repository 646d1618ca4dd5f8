package ipt

import (
	"net/netip"
	"slices"

	"portmap/rules"
	"portmap/rules/facts"
	"portmap/rules/ruletext"
)

// maxComment is the longest comment in bytes (XT_MAX_COMMENT_LEN, linux/netfilter/xt_comment.h, less the NUL).
const maxComment = 255

// supported refuses what this backend cannot put into the kernel.
func supported(m *rules.Mapping) error {
	if err := m.Within(); err != nil {
		return err
	}
	if m.Interface() == "!" { // to iptables that is "not"
		return &rules.UnsupportedError{Part: "--interface !"}
	}
	return nil
}

// encode returns the chains of one family for mappings, which are supported; where none is of that family, no chain but
// that of the notes. The same mappings, in whatever order, come to the same chains.
func encode(mappings []rules.Mapping, family rules.Families) []chain {
	return encodeNear(mappings, nil, family)
}

// encodeNear is encode for those chains alone that hold something of the mappings near, or lead to them; nil for all.
func encodeNear(mappings, near []rules.Mapping, family rules.Families) []chain {
	return slices.Concat(translating(mappings, near, family), masquerading(mappings, near, family),
		closingLoopback(mappings, family), dropping(mappings, near, family), muting(mappings, near, family),
		hiding(mappings, near, family))
}

// translating returns the chains of the table nat.
func translating(mappings, near []rules.Mapping, family rules.Families) []chain {
	t := &tree{table: nat, near: near, portsOf: listenPorts}
	entries := make([]dnatEntry, 0, len(mappings)+len(mappings)/8)
	var bySources, noted []int
	for i := range mappings {
		m := &mappings[i]
		if family == notesFamily && len(notes(m)) > 0 {
			noted = append(noted, i)
		}
		if !m.Families().Has(family) {
			continue
		}
		var sources []netip.Prefix
		entries, sources = appendEntries(entries, m, i, family)
		if len(sources) > 1 && t.isNear(m) {
			bySources = append(bySources, i)
		}
	}
	if len(entries) > 0 {
		t.grow(rootChain, portRange{rules.TCP | rules.UDP, everyPort}, pointers(entries), readable)
	}
	inOrder := func(a, b int) int { return facts.Compare(mappings[a], mappings[b]) }
	slices.SortFunc(bySources, inOrder)
	slices.SortFunc(noted, inOrder)
	for _, i := range bySources {
		m := &mappings[i]
		then := hashed(portsOf, m.String())
		t.sources(hashed(sourcesOf, m.String()), sourcesIn(m, family), rule{verdict: goTo, chain: then})
		t.portsBehindSources(then, m, i, family)
	}
	if family != notesFamily || len(mappings) == 0 {
		return t.chains
	}
	at := t.open(textChain)
	for _, i := range noted {
		for _, note := range notes(&mappings[i]) {
			t.add(at, rule{comment: note}, -1)
		}
	}
	return t.chains
}

// notesFamily is the family that has the chain with the notes on all mappings: one look tells whether there are any,
// and which are temporary.
const notesFamily = rules.IPv4

// notes are the comments of a mapping in the chain where no packet comes: the pieces of a long text, or the text where
// it is temporary. So where that chain is empty there are no temporary mappings.
func notes(m *rules.Mapping) []string {
	if pieces := ruletext.Pieces(m.String(), maxComment); len(pieces) > 0 || !m.Temporary() {
		return pieces
	}
	return []string{m.String()}
}

// entryOf returns what all entries of a mapping have in common.
func entryOf(m *rules.Mapping, number int) dnatEntry {
	return dnatEntry{
		mapping: number, listen: m.ListenPorts(), text: m.String(), comment: ruletext.Comment(m.String(), maxComment),
	}
}

// appendTargets appends the entry once for each target.
func appendTargets(entries []dnatEntry, it dnatEntry, m *rules.Mapping, family rules.Families) []dnatEntry {
	if target, one := m.TargetPorts(); one {
		it.target = target.First
		return append(entries, it)
	}
	targets := facts.TargetsIn(m, family)
	for i, t := range targets {
		it.to, it.target, it.number, it.share = t.Addr, t.Ports.First, i, share{}
		switch left := len(targets) - i; {
		case left == 1: // all that reaches it
		case m.Sticky():
			it.share = share{of: len(targets), hashed: true, number: i}
		default:
			it.share = share{of: left}
		}
		entries = append(entries, it)
	}
	return entries
}

// appendEntries appends a mapping's entries, and returns its sources.
//
// A mapping with several sources is cut in two, so that its rules are as many as its sources and its ports together,
// and not the one times the other: a first chain asks for the source, a second for the port.
func appendEntries(entries []dnatEntry, m *rules.Mapping, number int, family rules.Families) ([]dnatEntry,
	[]netip.Prefix) {
	it := entryOf(m, number)
	var sources []netip.Prefix
	if !facts.Plain(m) {
		it.address, it.iface = m.Listen(), m.Interface()
		switch sources = sourcesIn(m, family); len(sources) {
		case 0:
		case 1:
			it.source = sources[0]
		default:
			it.sourceChain = hashed(sourcesOf, m.String())
			it.mapping = -1 // the rules behind the sourceChain count
		}
	}
	for _, p := range [...]rules.Protocols{rules.TCP, rules.UDP} {
		if m.Protocols().Has(p) {
			it.protocol = p
			if it.sourceChain != "" {
				entries = append(entries, it)
			} else {
				entries = appendTargets(entries, it, m, family)
			}
		}
	}
	return entries, sources
}
