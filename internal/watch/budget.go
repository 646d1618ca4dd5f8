package watch

import "time"

// budget limits the process to a share of one core, whatever others do to the kernel's rules. CPU time that was not
// used is saved up to a reserve, so that a single disturbance is met without delay. The pause has an upper bound: with
// many rules or on a slow host a check may cost more than the share, but missing rules for longer would be worse.
type budget struct {
	share   int           // the process may use 1/share of a core
	reserve time.Duration // CPU time that can be saved up
	longest time.Duration // the longest pause
	maxCost time.Duration // the highest cost of a check so far: a few of them can be saved up
	full    time.Time     // when the reserve will be full
}

// beginCheck records that a check begins, and the CPU time used since the last one. That time does not delay this
// check: otherwise the pause would grow by the cost of waking up from it, and never end.
func (b *budget) beginCheck(now time.Time, used time.Duration) {
	b.spend(now, used)
	if b.full.Before(now) {
		b.full = now
	}
}

// endCheck records that a check ended, and its cost.
func (b *budget) endCheck(now time.Time, used time.Duration) {
	b.maxCost = max(b.maxCost, used)
	b.spend(now, used)
}

func (b *budget) spend(now time.Time, used time.Duration) {
	b.full = b.full.Add(used * time.Duration(b.share))
	if most := now.Add(b.fillTime() + b.longest); b.full.After(most) {
		b.full = most
	}
}

// next returns when a check is allowed again.
func (b *budget) next() time.Time { return b.full.Add(-b.fillTime()) }

// fillTime returns how long it takes to fill the reserve.
func (b *budget) fillTime() time.Duration {
	const checks = 3
	return max(b.reserve, checks*b.maxCost) * time.Duration(b.share)
}
