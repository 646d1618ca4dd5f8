package watch

import "time"

// limit keeps two tools from undoing each other's work at full speed. A burst of changes may follow each other at once.
// More changes than that are a fight: then each one waits, and longer each time, until the rules have lasted for a
// whole pause.
type limit struct {
	burst     int           // changes at once
	refill    time.Duration // until one more is allowed, and the first pause of a fight
	longest   time.Duration // the longest pause
	used      int
	since     time.Time // start of the current refill
	pause     time.Duration
	notBefore time.Time
	reported  bool // the fight was reported
}

// next returns when the next change is allowed; the zero time stands for at once.
func (l *limit) next() time.Time { return l.notBefore }

// fight reports, once per fight, that there is one, and how long the pause is.
func (l *limit) fight(now time.Time) (pause time.Duration, begins bool) {
	if !l.notBefore.After(now) || l.reported {
		return 0, false
	}
	l.reported = true
	return l.pause, true
}

// spend records a change that was made at now because of an event at happened.
func (l *limit) spend(now, happened time.Time) {
	if l.pause > 0 {
		if happened.Before(l.notBefore) {
			l.pause = min(2*l.pause, l.longest)
			l.notBefore = now.Add(l.pause)
			return
		}
		*l = limit{burst: l.burst, refill: l.refill, longest: l.longest}
	}
	if back := int(now.Sub(l.since) / l.refill); l.used <= back {
		l.used, l.since = 0, now
	} else {
		l.used, l.since = l.used-back, l.since.Add(time.Duration(back)*l.refill)
	}
	if l.used++; l.used >= l.burst {
		l.pause = l.refill
		l.notBefore = now.Add(l.pause)
	}
}
