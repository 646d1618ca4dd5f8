package reconcile

import (
	"context"
	"fmt"
	"slices"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"
)

// AddOptions say how Add treats what is there.
type AddOptions struct {
	Replace bool // take the place of mappings that are in the way
	DryRun  bool
}

// Add installs and saves mappings, all of them or none. One that is there already stays as it is; should the kernel
// have lost it, it is put back. The error for one that is in the way of another is a [*rules.ConflictError].
func (h *Host) Add(ctx context.Context, add []rules.Mapping, o AddOptions) (Report, error) {
	if err := h.supports(ctx, add); err != nil {
		return Report{}, err
	}
	return h.edit(ctx, editing{dryRun: o.DryRun, replace: o.Replace}, func(s state) (proposal, error) {
		if s.clash != nil {
			return proposal{}, s.clash
		}
		var e proposal
		var err error
		if o.Replace {
			e.desired, e.replaced, err = s.own.Replace(add...)
		} else {
			e.desired, err = s.own.Add(add...)
			e.replaced = make([][]rules.Mapping, len(add))
		}
		if err == nil {
			_, err = s.others.set.Add(add...)
		}
		if err != nil {
			return proposal{}, s.others.explain(err)
		}
		seen := map[string]bool{}
		for i, m := range add {
			e.remove = append(e.remove, e.replaced[i]...)
			switch {
			case seen[m.String()]:
				e.replaced[i] = nil
			case s.own.Has(m):
				e.lookFor = append(e.lookFor, m)
				e.outcomes = append(e.outcomes, Outcome{Verb: Unchanged, Mapping: m})
			default:
				if s.others.has(m) { // it is live already, or to be put back
					e.lookFor = append(e.lookFor, m)
				}
				e.add = append(e.add, m)
				e.inPlaceOf = append(e.inPlaceOf, e.replaced[i])
				e.outcomes = append(e.outcomes, outcomeOf(m, e.replaced[i]))
			}
			seen[m.String()] = true
		}
		return e, nil
	})
}

// supports asks the packet filter about mappings that are more than plain ones: before the lock, which needs more
// rights.
func (h *Host) supports(ctx context.Context, add []rules.Mapping) error {
	for _, m := range add {
		if facts.Plain(&m) {
			continue
		}
		filter, err := h.Filter(ctx, false)
		if err == nil {
			err = filter.Supports(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func outcomeOf(m rules.Mapping, replaced []rules.Mapping) Outcome {
	if len(replaced) == 0 {
		return Outcome{Verb: Added, Mapping: m}
	}
	return Outcome{Verb: Replaced, Mapping: m, Old: replaced}
}

// Remove takes mappings out of the kernel and the file, all of them or none. A selector is what [rules.Set.Find] takes;
// it must mean exactly one. The error is a [*SelectError].
func (h *Host) Remove(ctx context.Context, selectors []string, dryRun bool) (Report, error) {
	return h.edit(ctx, editing{dryRun: dryRun}, func(s state) (proposal, error) {
		known, err := h.known(ctx, s, selectors)
		if err != nil {
			return proposal{}, err
		}
		e := proposal{}
		seen := map[string]bool{}
		for _, selector := range selectors {
			m, err := Select(known, selector, h.Services)
			if err == nil && s.others.has(m) && !s.own.Has(m) {
				err = &HeldError{m, s.others.files[m.String()]}
			}
			if err != nil {
				return proposal{}, err
			}
			if !seen[m.String()] {
				seen[m.String()] = true
				e.remove = append(e.remove, m)
				e.outcomes = append(e.outcomes, Outcome{Verb: Removed, Mapping: m})
			}
		}
		if stay := s.others.shared(e.remove); len(stay) > 0 {
			e.notes = s.others.stay(stay)
		}
		e.desired = s.own.Remove(e.remove...)
		return e, nil
	})
}

// RemoveAll takes every mapping out of the kernel and the file.
func (h *Host) RemoveAll(ctx context.Context, dryRun bool) (Report, error) {
	return h.edit(ctx, editing{dryRun: dryRun, everywhere: true}, func(s state) (proposal, error) {
		live, err := h.lookAtKernel(ctx)
		if err != nil {
			return proposal{}, err
		}
		all := append(s.own.Mappings(), rules.Minus(mappings(live.Live), s.own.Mappings())...)
		e := proposal{everything: true, reset: true, remove: all, from: live}
		alien := s.others.held(rules.Minus(mappings(live.Live), s.own.Mappings()))
		stay := slices.Concat(alien, s.others.shared(s.own.Mappings()))
		if len(stay) > 0 {
			e.remove, e.reset, e.notes = rules.Minus(e.remove, alien), false, s.others.stay(stay)
		}
		for _, m := range e.remove {
			e.outcomes = append(e.outcomes, Outcome{Verb: Removed, Mapping: m})
		}
		return e, nil
	})
}

// known returns the mappings among which selectors choose: what is saved or temporary, and when that is not enough,
// what only the kernel has.
func (h *Host) known(ctx context.Context, s state, selectors []string) (rules.Set, error) {
	for _, selector := range selectors {
		if len(s.all.Find(selector, h.Services)) == 0 {
			live, err := h.lookAtKernel(ctx)
			return union(s.all, live.Live), err
		}
	}
	return s.all, nil
}

// union returns a Set and, of what is live, what goes with it.
func union(s rules.Set, live rules.Live) rules.Set { return unite(s, mappings(live)) }

// unite returns a Set and, of more mappings, those that go with it and with each other.
func unite(s rules.Set, more []rules.Mapping) rules.Set {
	if all, err := s.Add(more...); err == nil {
		return all
	}
	all, _, err := rules.Fit(context.Background(), append(s.Mappings(), more...))
	if err != nil {
		return s // which is that of a context that is done, and this one never is
	}
	return all
}

// proposal is what an edit comes to: the parts of a plan, and what to say of it.
type proposal struct {
	desired   rules.Set // everything that should be live afterwards
	remove    []rules.Mapping
	add       []rules.Mapping
	replaced  [][]rules.Mapping // parallel to what was asked
	inPlaceOf [][]rules.Mapping // parallel to add
	lookFor   []rules.Mapping   // saved already: to be put back if the kernel lost them
	reset     bool
	from      kernel // what it starts from; not read if the file is enough
	outcomes  []Outcome

	everything bool // nothing of our file is to stay
	notes      []finding.Finding
}

// editing says how an edit treats what is there.
type editing struct {
	dryRun     bool
	everywhere bool // look for mappings in all backends
	replace    bool // take the place of live mappings that are in the way
}

// edit locks, reads, decides and commits.
func (h *Host) edit(ctx context.Context, o editing, decide func(state) (proposal, error)) (Report, error) {
	lock, err := h.lock(ctx, o.dryRun)
	if err != nil {
		return Report{}, err
	}
	if lock != nil {
		defer lock.Close()
	}
	s, err := h.readState(ctx, o.everywhere)
	if err != nil {
		return Report{}, err
	}
	e, err := decide(s)
	if err != nil {
		return Report{}, err
	}
	report := Report{Outcomes: e.outcomes, Total: e.desired.Len(), Notes: e.notes}
	if s.all.Len() == 0 || e.reset {
		report.Notes = append(report.Notes, h.variantNote()...) // said once, not with each change
	}
	if h.moves() && !e.reset {
		return Report{}, &MovedError{
			Lives: h.fromNames(), Chosen: h.filter.Name(),
			move: h.typed("apply", "--backend", h.filter.Name()),
		}
	}
	p := e.plan(s, h.fixBackend)
	p.replace = o.replace
	report.First = s.text.Set().Len() == 0 &&
		slices.ContainsFunc(e.add, func(m rules.Mapping) bool { return !m.Temporary() })
	report.Legacy, report.Shared = h.filter.Legacy, h.filter.SharesTables
	if err := h.lookCloser(ctx, s, &e, &p, lock); err != nil {
		return Report{}, err
	}
	unsaved, err := h.unsaved(ctx, s, &e, &p)
	if err != nil {
		return Report{}, err
	}
	report.Notes = append(report.Notes, unsaved...)
	if err := h.guard(report.Outcomes); err != nil {
		return Report{}, err
	}
	if o.dryRun {
		return report, nil
	}
	h.recordFile(p.content)
	done, warnings, err := h.commit(ctx, lock, p)
	report.Warnings = warnings
	report.gone(rules.Minus(done.Remove, slices.Concat(done.Add, e.remove)))
	return report, err
}

// unsaved tells of live mappings that are in no file, which the next apply would remove. It looks only where the file
// had none, as after it was lost: an edit of a file with mappings need not read the kernel.
func (h *Host) unsaved(ctx context.Context, s state, e *proposal, p *plan) (list []finding.Finding, err error) {
	if s.text.Set().Len() > 0 || e.everything || len(e.add) == 0 {
		return nil, nil
	}
	if len(p.from.each) == 0 {
		if p.from, err = h.lookAtKernel(ctx); err != nil {
			return nil, err
		}
	}
	lost := rules.Minus(mappings(p.from.Live), slices.Concat(s.all.Mappings(), e.desired.Mappings(), e.remove))
	if lost = slices.DeleteFunc(lost, rules.Mapping.Temporary); len(lost) == 0 {
		return nil, nil
	}
	return []finding.Finding{{
		ID:     finding.NotSaved,
		Text:   fmt.Sprintf("live, but in no file, so that the next apply removes it: %s", join(lost)),
		Remedy: h.typed("list", "-o", "plain") + " | " + h.typed("apply", "-f", "-"),
	}}, nil
}

// gone reports live mappings that no file had and that went: added ones took their place, or a change that died had
// left them.
func (r *Report) gone(gone []rules.Mapping) {
	left := gone
	for i := range r.Outcomes {
		o := &r.Outcomes[i]
		if o.Verb != Added && o.Verb != Replaced || len(gone) == 0 {
			continue
		}
		_, old, err := unite(rules.Set{}, gone).Replace(o.Mapping)
		if err == nil && len(old[0]) > 0 {
			o.Verb, o.Old = Replaced, append(o.Old, old[0]...)
			left = rules.Minus(left, old[0])
		}
	}
	removed := make([]Outcome, 0, len(left))
	for _, m := range left {
		removed = append(removed, Outcome{Verb: Removed, Mapping: m})
	}
	r.Outcomes = append(removed, r.Outcomes...)
}

// plan returns what to change in the kernel and in the file.
func (e *proposal) plan(s state, fixBackend func([]byte) []byte) plan {
	// What another file holds, too, stays in the kernel whatever becomes of it in ours.
	p := plan{from: e.from, desired: e.desired, asked: rules.Change{Remove: s.others.without(e.remove),
		Add: s.others.without(e.add)}, others: s.others.set}
	p.change = rules.Change{Reset: e.reset, Remove: p.asked.Remove, Add: p.asked.Add, Before: s.all.Mappings()}
	var save []rules.Mapping
	var inPlaceOf [][]rules.Mapping
	for i, m := range e.add {
		if !m.Temporary() {
			save = append(save, m)
			inPlaceOf = append(inPlaceOf, e.inPlaceOf[i])
		}
	}
	p.content = s.text.Edit(e.remove, save, inPlaceOf)
	if len(e.add)+len(e.lookFor) > 0 {
		p.content = fixBackend(p.content)
	}
	// After the removal of everything the file is written in any case: it is how a watch that refused it learns that
	// this is meant.
	p.save = e.everything || string(p.content) != s.text.String()
	return p
}

// lookCloser reads all that is live if the file is not enough to decide: after a change that died half way, for
// mappings that should be live already, where nothing seems to be left, so that the table goes, too, and for one to
// remove whose place a mapping of another file may have: a kernel deletes by place.
func (h *Host) lookCloser(ctx context.Context, s state, e *proposal, p *plan, lock *locks) error {
	interrupted := lock.interrupted()
	last := e.desired.Len() == 0 && len(e.remove) > 0
	_, contested := s.others.set.Add(p.change.Remove...)
	if e.reset || !interrupted && len(e.lookFor) == 0 && !last && contested == nil {
		return nil
	}
	live, err := h.lookAtKernel(ctx)
	if err != nil {
		return err
	}
	p.from = live
	switch {
	case interrupted && !e.everything:
		p.change = changeTo(live.Live, unite(e.desired, s.others.held(mappings(live.Live))))
		unasked := slices.DeleteFunc(rules.Minus(p.change.Remove, slices.Concat(p.change.Add, e.remove)),
			rules.Mapping.Temporary)
		if s.text.Set().Len() == 0 && len(unasked) > 0 {
			return &EmptyError{Name: h.File.Path, Mappings: len(unasked), Interrupted: true}
		}
	case last && len(rules.Minus(mappings(live.Live), p.change.Remove)) == 0:
		p.change = rules.Change{Reset: true, Remove: mappings(live.Live)}
	default:
		asked := plan{desired: e.desired,
			change: rules.Change{Remove: p.change.Remove, Add: append(e.lookFor, p.change.Add...)}, replace: p.replace}
		if p.change, err = fit(asked, live.Live); err != nil {
			return err
		}
	}
	back := map[string]bool{}
	for _, m := range p.change.Add {
		back[m.String()] = true
	}
	for i := range e.outcomes {
		if o := &e.outcomes[i]; o.Verb == Unchanged && back[o.Mapping.String()] {
			o.Verb = Added
		}
	}
	return nil
}
