package watch

import (
	"slices"
	"time"
)

// pace decides when to check the kernel. Its methods record what happened and when; it has no clock.
type pace struct {
	settle     time.Duration // pause after the first notification of a burst
	edit       time.Duration // pause after an edit: an editor may write a file in pieces
	unfinished time.Duration // the same if the file seems to be half written
	limit      limit
	budget     budget

	disturbed  time.Time // since when the kernel may differ; zero if it is not known to
	by         []string  // the programs that changed rules since
	edited     time.Time // the last event of an edit; zero if the file was read since
	first      time.Time // the first event of it
	incomplete bool      // the file seemed to be half written at the last event
	retry      time.Time // after an error; zero otherwise
}

const (
	settle           = 3 * time.Millisecond
	settleEdit       = 50 * time.Millisecond
	settleUnfinished = time.Second
	maxPauses        = 10 // an edit that never ends is read after so many pauses
)

func newPace() pace {
	return pace{
		settle: settle, edit: settleEdit, unfinished: settleUnfinished,
		limit:  limit{burst: 10, refill: 5 * time.Second, longest: time.Minute},
		budget: budget{share: 32, reserve: 50 * time.Millisecond, longest: 10 * time.Second},
	}
}

// disturb records that another program changed rules.
func (p *pace) disturb(now time.Time, by string) {
	if p.disturbed.IsZero() {
		p.disturbed, p.by = now, nil
	}
	if by != "" && len(p.by) < 3 && !slices.Contains(p.by, by) {
		p.by = append(p.by, by)
	}
}

// editing records an event of an edit, and whether the file seems to be half written.
func (p *pace) editing(now time.Time, incomplete bool) {
	if p.first.IsZero() {
		p.first = now
	}
	p.edited, p.incomplete = now, incomplete
}

// done records that a check covered everything known so far.
func (p *pace) done() {
	p.disturbed, p.edited, p.first, p.retry = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// failed records that the check has to be repeated after a pause, also if an edit asked for it.
func (p *pace) failed(now time.Time, pause time.Duration) {
	p.edited, p.first = time.Time{}, time.Time{}
	p.disturb(now, "")
	p.retry = now.Add(pause)
}

// due returns when to check; the zero time if there is no reason to. An edit does not wait for the end of a fight.
// While the file is half written there is no check: it would apply the file.
func (p *pace) due() (at time.Time) {
	if !p.disturbed.IsZero() {
		at = latest(p.disturbed.Add(p.settle), p.retry, p.limit.next(), p.budget.next())
	}
	if !p.edited.IsZero() {
		pause := p.edit
		if p.incomplete {
			pause = p.unfinished
		}
		edit := p.edited.Add(pause)
		if most := p.first.Add(maxPauses * pause); most.Before(edit) {
			edit = most
		}
		if at.IsZero() || edit.Before(at) || p.incomplete {
			at = edit
		}
	}
	return at
}

// listens reports whether more notices are of use. While a check is put off they are not, and the kernel may drop them:
// an overflow is a notification, too.
func (p *pace) listens(now time.Time) bool {
	if now.Before(p.budget.next()) {
		return false
	}
	return p.disturbed.IsZero() || now.Before(p.disturbed.Add(p.settle))
}

// wakes returns when, at the latest, to check or to listen again; zero for never.
func (p *pace) wakes(now time.Time) time.Time {
	at := p.due()
	if again := p.budget.next(); p.disturbed.IsZero() && now.Before(again) && (at.IsZero() || again.Before(at)) {
		at = again
	}
	return at
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
