package others

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
)

// back is a rule that leads a target port of a mapping to its listen port.
type back struct {
	rule           Rule
	mapping        rules.Mapping
	target, listen uint16
}

// leadsBack reports whether the rule translates the target port of a mapping to its listen port.
func (r Rule) leadsBack(m *rules.Mapping) (target, listen uint16, ok bool) {
	to, err := strconv.ParseUint(r.to[strings.LastIndexByte(r.to, ':')+1:], 10, 16)
	if r.action != translate || err != nil {
		return 0, 0, false
	}
	listen = uint16(to)
	target, here := m.TargetOf(listen)
	of := rules.Ports{First: target, Last: target}
	return target, listen, here && slices.ContainsFunc(r.match.ports, of.Overlaps) &&
		r.match.families&m.Families() != 0 && r.match.protocols&m.Protocols() != 0
}

// Back tells of rules that lead the target port of a mapping back to its listen port, once for each mapping. There is
// no loop: a packet is translated once. Those who use the target port itself end on the listen port, where no server
// is.
func Back(found Rules) (advice []finding.Finding) {
	for _, b := range found.back {
		if slices.ContainsFunc(advice, func(f finding.Finding) bool { return f.Mapping.Equal(b.mapping) }) {
			continue
		}
		advice = append(advice, finding.Finding{
			ID: finding.RedirectBack, Mapping: b.mapping,
			Text: fmt.Sprintf("another rule leads port %d back to %d: clients of the mapping are not concerned, but "+
				"those of port %d itself do not reach the server", b.target, b.listen, b.target),
			Seen: b.rule.where(0),
		})
	}
	return advice
}
