package watch

import (
	"slices"
	"time"
)

// pace decides when to look at the kernel. Its methods say what happened and when; it has no clock.
type pace struct {
	settle time.Duration // a burst of notifications is one disturbance
	edit   time.Duration // an editor may write a file in pieces
	half   time.Duration // the same, where the file looks as if there were more to come
	limit  limit
	budget budget

	disturbed time.Time // since when the kernel may hold something else; zero when nothing is known against it
	by        []string  // who changed rules since
	edited    time.Time // the last sign of an edit; zero when the file was read since
	first     time.Time // the first sign of it
	pieces    bool      // whether the file looked so then
	retry     time.Time // after an error; zero otherwise
}

const (
	settle     = 3 * time.Millisecond
	settleEdit = 50 * time.Millisecond
	settleHalf = time.Second
	patience   = 10 // an editor that never ends is looked at after so many times these
)

func newPace() pace {
	return pace{
		settle: settle, edit: settleEdit, half: settleHalf,
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

// editing notes a sign of an edit, and whether there seems to be more to come.
func (p *pace) editing(now time.Time, pieces bool) {
	if p.first.IsZero() {
		p.first = now
	}
	p.edited, p.pieces = now, pieces
}

// done notes that everything known so far was looked at.
func (p *pace) done() {
	p.disturbed, p.edited, p.first, p.retry = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// failed notes that the look has to be repeated. That is for later, also where it was an edit that asked for it.
func (p *pace) failed(now time.Time, pause time.Duration) {
	p.edited, p.first = time.Time{}, time.Time{}
	p.disturb(now, "")
	p.retry = now.Add(pause)
}

// due returns when to look; the zero time when there is no reason to. An edit is somebody's wish and does not wait for
// others to stop fighting. While it is half written nothing is looked at: a look would apply it.
func (p *pace) due() (at time.Time) {
	if !p.disturbed.IsZero() {
		at = latest(p.disturbed.Add(p.settle), p.retry, p.limit.next(), p.budget.next())
	}
	if !p.edited.IsZero() {
		pause := p.edit
		if p.pieces {
			pause = p.half
		}
		edit := p.edited.Add(pause)
		if most := p.first.Add(patience * pause); most.Before(edit) {
			edit = most
		}
		if at.IsZero() || edit.Before(at) || p.pieces {
			at = edit
		}
	}
	return at
}

// listens reports whether more notices are of use. When a look is put off anyway they tell nothing
// new, and the kernel may drop them: that too is a notification.
func (p *pace) listens(now time.Time) bool {
	if now.Before(p.budget.next()) {
		return false
	}
	return p.disturbed.IsZero() || now.Before(p.disturbed.Add(p.settle))
}

// wakes returns when, at the latest, something has to be done or listened to again; zero for never.
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
