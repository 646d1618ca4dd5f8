package reconcile

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"portmap/internal/conf"
	"portmap/internal/finding"
	"portmap/rules"
)

// Content is a file that is to take the saved one's place.
type Content struct {
	Name  string // for messages
	Bytes []byte
}

// ApplyOptions say what Apply may do.
type ApplyOptions struct {
	DryRun bool
	Empty  bool // remove every mapping where the file has none
	Exists bool // refuse a file that does not exist also while only other files have live mappings
}

// EmptyError refuses a file without a mapping, while there are mappings: a pipe whose left side failed, a mistyped name
// and a disk that is not mounted look the same as the wish to have none.
type EmptyError struct {
	Name     string // of the file or stream
	Missing  bool   // there is no such file
	Mappings int    // how many there are, saved or live
	Others   bool   // they are those of other files, and would stay

	Interrupted bool // a change died before it was saved: what is in place may be its
}

func (e *EmptyError) Error() string {
	why := "has no mapping"
	if e.Missing {
		why = "does not exist"
	}
	are := "mappings are"
	if e.Mappings == 1 {
		are = "mapping is"
	}
	text := fmt.Sprintf("%s %s, and %d %s in place", e.Name, why, e.Mappings, are)
	if e.Others {
		text += ", from another file"
	}
	if e.Interrupted {
		text += ", since a change was interrupted before it was saved"
	}
	return text
}

// Apply makes the kernel match the saved file, in one transaction. With content, that content is applied and then takes
// the saved file's place. Temporary mappings stay. The error for a file without a mapping is an [*EmptyError].
func (h *Host) Apply(ctx context.Context, content *Content, o ApplyOptions) (Report, error) {
	lock, err := h.lock(ctx, o.DryRun)
	if err != nil {
		return Report{}, err
	}
	if lock != nil {
		defer lock.Close()
	}
	saved, err := h.File.Read()
	if err != nil {
		return Report{}, err
	}
	next := Content{h.File.Path, saved}
	if content != nil {
		next = *content
	}
	d, err := h.difference(ctx, next)
	if err != nil {
		return Report{}, err
	}
	if !o.Empty {
		if err := h.refuseEmpty(ctx, d, next, saved, lock.interrupted()); err != nil {
			return Report{}, err
		}
		if others := d.lasting(); o.Exists && next.Bytes == nil && content == nil && others > 0 {
			return Report{}, &EmptyError{Name: next.Name, Missing: true, Mappings: others, Others: true}
		}
	}
	report := Report{
		Outcomes: outcomesOf(d.Change), Total: d.desired.Len(), Damaged: d.Damaged, Content: next.Bytes,
		Legacy: h.filter.Legacy, Shared: h.filter.SharesTables,
	}
	if h.Unfix {
		report.Unfixed = conf.Backend(next.Bytes)
	}
	if report.Moved = h.moved(d.desired.Len(), o.DryRun); len(report.Outcomes) > 0 {
		report.Notes = append(report.Notes, h.variantNote()...)
	}
	if err := h.guard(report.Outcomes); err != nil {
		return Report{}, err
	}
	if o.DryRun {
		report.Warnings = d.leftOut
		return report, nil
	}
	p := plan{from: d.from, desired: d.desired, change: d.Change, content: h.fixBackend(next.Bytes),
		asked: d.asked(h.saidIn(ctx, saved))}
	p.save, p.keepOld = !bytes.Equal(p.content, saved), content != nil
	if o.Empty && d.removesAll() && h.Run.Watched() {
		p.save = true // a watch that refused the file learns from its being written again that this is meant
	}
	h.recordFile(p.content)
	_, warnings, err := h.commit(ctx, lock, p)
	report.Warnings = slices.Concat(d.leftOut, warnings)
	return report, err
}

// refuseEmpty refuses to apply a file without a mapping, while some are saved or live.
func (h *Host) refuseEmpty(ctx context.Context, d Difference, next Content, saved []byte, interrupted bool) error {
	if d.saved > 0 {
		return nil
	}
	count := d.removed()
	if next.Name != h.File.Path {
		text, _, err := h.reader().ParseGood(ctx, saved)
		if err != nil {
			return err
		}
		count = max(count, text.Set().Len())
	}
	if count == 0 {
		return nil
	}
	own := next.Name == h.File.Path
	empty := &EmptyError{Name: next.Name, Mappings: count, Missing: own && saved == nil, Interrupted: own &&
		interrupted}
	if len(d.leftOut) > 0 {
		return fmt.Errorf("%w (%s)", empty, d.leftOut[0].Text)
	}
	return empty
}

// Difference is what Apply would change.
type Difference struct {
	Change  rules.Change
	Damaged string // what is wrong with the rules in the kernel, or ""
	Foreign string // how to take out what others put among them, where Apply would be refused for it
	NoFile  bool   // there is no saved file, and it was to be compared

	desired rules.Set
	saved   int    // how many of the desired mappings the file has
	from    kernel // what it starts from

	temporary []rules.Mapping   // that are live
	leftOut   []finding.Finding // lines of the file, and mappings of other files, that are not in desired
	repair    string            // the command that makes damaged rules again
}

// Damage returns one finding if the rules in the kernel are damaged, else none.
func (d Difference) Damage() []finding.Finding { return damage(d.Damaged, d.Foreign, d.repair) }

// removesAll reports whether the file has no mapping, and some that last would go.
func (d Difference) removesAll() bool {
	return d.removed() > 0 && d.saved == 0
}

// removed counts the mappings that would go, without temporary ones.
func (d Difference) removed() (count int) {
	for _, m := range d.Change.Remove {
		if lasting(m) && !d.desired.Has(m) {
			count++
		}
	}
	return count
}

// lasting counts the mappings that are to be live, without temporary ones.
func (d Difference) lasting() (count int) {
	for _, m := range d.desired.Mappings() {
		if lasting(m) {
			count++
		}
	}
	return count
}

func lasting(m rules.Mapping) bool { return !m.Temporary() }

// Outcomes returns the difference, one outcome for each mapping.
func (d Difference) Outcomes() []Outcome { return outcomesOf(d.Change) }

// Diff returns what Apply would change. With content it does not look at the saved file.
func (h *Host) Diff(ctx context.Context, content *Content) (Difference, error) {
	if content != nil {
		return h.difference(ctx, *content)
	}
	saved, err := h.File.Read()
	if err != nil {
		return Difference{}, err
	}
	d, err := h.difference(ctx, Content{h.File.Path, saved})
	d.NoFile = saved == nil
	return d, err
}

func (h *Host) difference(ctx context.Context, content Content) (Difference, error) {
	text, err := h.parseAll(ctx, content)
	if err != nil {
		return Difference{}, err
	}
	return h.differenceOf(ctx, content.Name, text)
}

func (h *Host) differenceOf(ctx context.Context, name string, text conf.Text) (Difference, error) {
	s, err := h.stateOf(ctx, name, text, true)
	if err == nil {
		err = s.clash
	}
	if err != nil {
		return Difference{}, err
	}
	live, err := h.lookAtKernel(ctx)
	if err != nil {
		return Difference{}, err
	}
	desired, passedOver, err := h.withOthers(s, live.Live)
	if err != nil {
		return Difference{}, err
	}
	return Difference{
		Change: changeTo(live.Live, desired), Damaged: live.Damaged, Foreign: live.Foreign, desired: desired,
		saved:     text.Set().Len(),
		from:      live,
		temporary: s.temporary, leftOut: slices.Concat(h.leftOut, passedOver), repair: h.typed("apply"),
	}, nil
}

// withOthers adds to the mappings of our file those that are live and that other files hold. With KeepGoing one of
// theirs that is in the way of ours goes, which is a finding.
func (h *Host) withOthers(s state, live rules.Live) (desired rules.Set, passedOver []finding.Finding, err error) {
	desired = s.own
	for _, m := range s.others.held(rules.Minus(mappings(live), s.own.Mappings())) {
		with, err := desired.Add(m)
		switch {
		case err == nil:
			desired = with
		case h.KeepGoing:
			passedOver = append(passedOver, finding.Finding{
				ID: finding.OtherFileConflict, Mapping: m, Text: s.others.yields(m, err).Error(),
			})
		case s.others.has(m):
			return rules.Set{}, nil, s.others.yields(m, err)
		}
	}
	return desired, append(passedOver, s.others.warning()...), nil
}

// Flush takes everything of ours out of the kernel, and leaves the file.
func (h *Host) Flush(ctx context.Context, dryRun bool) (Report, error) {
	lock, err := h.lock(ctx, dryRun)
	if err != nil {
		return Report{}, err
	}
	if lock != nil {
		defer lock.Close()
	}
	saved, err := h.File.Read() // of a file that is damaged only the backend matters here
	if err != nil {
		return Report{}, err
	}
	if err := h.use(ctx, conf.Backend(saved), true); err != nil {
		return Report{}, err
	}
	live, err := h.lookAtKernel(ctx)
	if err != nil {
		return Report{}, err
	}
	change := rules.Change{Reset: true, Remove: mappings(live.Live)}
	report := Report{Outcomes: outcomesOf(change), Notes: h.variantNote()}
	if dryRun {
		return report, nil
	}
	_, report.Warnings,
		err = h.commit(ctx, lock, plan{from: live, change: change, asked: h.saidIn(ctx, saved).Diff(rules.Set{})})
	return report, err
}

// outcomesOf returns a change as one outcome for each mapping. After a Reset, what was there before and is there again
// has not changed.
func outcomesOf(c rules.Change) []Outcome {
	outcomes := make([]Outcome, 0, len(c.Remove)+len(c.Add))
	remove, add := c.Remove, c.Add
	if c.Reset {
		remove, add = rules.Minus(c.Remove, c.Add), rules.Minus(c.Add, c.Remove)
	}
	for _, m := range remove {
		outcomes = append(outcomes, Outcome{Verb: Removed, Mapping: m})
	}
	for _, m := range add {
		outcomes = append(outcomes, Outcome{Verb: Added, Mapping: m})
	}
	return outcomes
}

// Saved returns the file as it is read.
func (h *Host) Saved(ctx context.Context) (conf.Text, error) { return h.Read(ctx, nil) }

// Read returns content as it is read; with nil, the saved file.
func (h *Host) Read(ctx context.Context, content *Content) (conf.Text, error) {
	if content != nil {
		return h.parse(ctx, *content)
	}
	saved, err := h.File.Read()
	if err != nil {
		return conf.Text{}, err
	}
	return h.parse(ctx, Content{h.File.Path, saved})
}
