package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
)

// normalize checks what only the whole mapping shows, and brings it into the one form that its text stands for.
func (m *Mapping) normalize() *InvalidError {
	if m.extras != nil {
		m.extras.sources = tidySources(m.extras.sources)
		if err := m.normalizeTargets(); err != nil {
			return err
		}
	}
	if err := m.checkCounts(); err != nil {
		return err
	}
	if err := m.normalizeFamilies(); err != nil {
		return err
	}
	if err := m.checkItself(); err != nil {
		return err
	}
	return m.checkOptions()
}

func (m *Mapping) checkCounts() *InvalidError {
	if m.extras == nil || len(m.extras.targets) == 0 {
		return countError(m.ports, m.target)
	}
	for _, t := range m.extras.targets {
		if err := countError(m.ports, t.Ports); err != nil {
			return err
		}
	}
	return nil
}

// normalizeTargets sorts the targets: their order means nothing.
func (m *Mapping) normalizeTargets() *InvalidError {
	targets := m.extras.targets
	sort.Slice(targets, func(i, k int) bool {
		a, b := targets[i], targets[k]
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Ports.First, b.Ports.First),
			cmp.Compare(a.Ports.Last, b.Ports.Last)) < 0
	})
	for i, t := range targets {
		if i > 0 && t == targets[i-1] {
			return &InvalidError{Part: string(t.append(nil)), Why: "given twice", Fix: "write each target once"}
		}
		if t.Addr == netip.IPv6Loopback() && !m.extras.listen.IsLoopback() {
			return &InvalidError{Part: string(t.append(nil)),
				Why: "clients on other hosts cannot be sent to [::1], and IPv6 has no switch for that",
				Fix: "have the server listen on [::], and write " + m.ports.String() + ":" + t.Ports.String() +
					"; or listen on [::1] for clients on this host"}
		}
	}
	if remote := m.hasRemote(); remote && slices.ContainsFunc(targets, Target.loopback) {
		return &InvalidError{Part: "target", Why: "one is on this host and one on another",
			Fix: "use targets of one kind"}
	} else if remote && m.extras.listen.IsLoopback() {
		return &InvalidError{Part: m.extras.listen.String(),
			Why: "packets to a loopback address cannot be sent to another host",
			Fix: "leave it out; clients on this host use another address of it"}
	}
	if len(targets) > MaxTargets {
		return &InvalidError{Part: fmt.Sprintf("%d targets", len(targets)), Why: "too many",
			Fix: fmt.Sprintf("write at most %d", MaxTargets)}
	}
	return nil
}

func countError(listen, target Ports) *InvalidError {
	n := listen.Count()
	if n == target.Count() {
		return nil
	}
	err := &InvalidError{Part: target.String(), Why: fmt.Sprintf("%s for %s", ports(target.Count()), ports(n))}
	if last := int(target.First) + n - 1; last <= 65535 {
		err.Fix = "write " + listen.String() + ":" + Ports{target.First, uint16(last)}.String()
	} else {
		err.Fix = "both sides have the same number of ports"
	}
	return err
}

func ports(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}

// normalizeFamilies finds the families that the addresses leave, and drops a -4 or -6 that says no more than they do.
func (m *Mapping) normalizeFamilies() *InvalidError {
	if m.only == BothFamilies {
		return &InvalidError{Part: "-4 -6", Why: "each excludes the other", Fix: "leave both out for IPv4 and IPv6"}
	}
	if m.extras == nil && m.only == 0 {
		m.families = BothFamilies
		return nil
	}
	implied := BothFamilies
	narrow := func(what string, f Families) *InvalidError {
		if f == 0 {
			return nil
		}
		if implied&f == 0 {
			return &InvalidError{Part: what, Why: fmt.Sprintf("is %s, the rest of the mapping is %s", f, implied),
				Fix: "use addresses of one family"}
		}
		implied &= f
		return nil
	}
	var targets, sources Families
	for _, t := range m.extra().targets {
		targets |= FamilyOf(t.Addr) // 0 for this host
	}
	for _, p := range m.extra().sources {
		sources |= FamilyOf(p.Addr())
	}
	for _, part := range [...]struct {
		what string
		f    Families
	}{{"listen address", FamilyOf(m.extra().listen)}, {"target", targets}, {"--source", sources}} {
		if err := narrow(part.what, part.f); err != nil {
			return err
		}
	}
	if m.only != 0 {
		if implied&m.only == 0 {
			return &InvalidError{Part: map[Families]string{IPv4: "-4", IPv6: "-6"}[m.only],
				Why: fmt.Sprintf("the mapping's addresses are %s", implied), Fix: "leave it out"}
		}
		if implied == m.only {
			m.only = 0
		}
	}
	m.families = implied
	if m.only != 0 {
		m.families = m.only
	}
	return m.checkAllFamiliesUsed(sources, targets)
}

// checkAllFamiliesUsed refuses a network or a target that no packet of the mapping can ever have: it was meant to do
// something.
func (m *Mapping) checkAllFamiliesUsed(sources, targets Families) *InvalidError {
	for _, part := range [...]struct {
		what string
		f    Families
	}{{"--source", sources}, {"target", targets}} {
		if lost := part.f &^ m.families; lost != 0 {
			return &InvalidError{Part: part.what, Why: fmt.Sprintf("has an %s address, the mapping is for %s only",
				lost, m.families), Fix: "leave that address out, or the mapping's -4, -6 or listen address"}
		}
	}
	return nil
}

func (m *Mapping) checkItself() *InvalidError {
	listen := m.extra().listen
	same := func(t Target) bool { return t.Ports == m.ports && (!t.Addr.IsValid() || t.Addr == listen) }
	if m.target == m.ports || slices.ContainsFunc(m.extra().targets, same) {
		return &InvalidError{Why: "maps to itself", Fix: "the server's port must be another one than the clients'"}
	}
	return nil
}

func (m *Mapping) checkOptions() *InvalidError {
	if m.extras == nil && m.flags == 0 {
		return nil
	}
	r := m.extra()
	elsewhere := m.hasRemote()
	for _, c := range [...]struct {
		wrong    bool
		part     string
		why, fix string
	}{
		{m.flags&forward != 0 && !elsewhere, "--forward", "the target is on this host", "leave it out"},
		{m.flags&sticky != 0 && len(r.targets) < 2, "--sticky", "there is only one target", "leave it out"},
		{r.owner != "" && elsewhere, "--owner", "the target is on another host", "leave it out"},
		{m.flags&hide != 0 && elsewhere, "--hide", "the target is on another host", "leave it out"},
	} {
		if c.wrong {
			return &InvalidError{Part: c.part, Why: c.why, Fix: c.fix}
		}
	}
	return nil
}
