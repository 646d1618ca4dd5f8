package watch

import "time"

// budget holds the process to a share of one core, whatever others do to the kernel's rules. What was saved up may be
// spent at once, so that a single disturbance is met without delay. Where the rules are many or the host is slow, so
// that a look costs more than the share of the longest pause, the pause stands: to be down for longer would be worse.
type budget struct {
	share   int           // one part in so many
	reserve time.Duration // of CPU time that can be saved up
	longest time.Duration // the longest pause
	dearest time.Duration // what a look has cost at most: a few of them can be saved up
	full    time.Time     // when all that can be saved up will be
}

// rested notes that a look begins, and what was used since the last one. That was over a while, and has no part in when
// this look may begin: the pause would else grow by what it costs to wake up from it, and never end.
func (b *budget) rested(now time.Time, used time.Duration) {
	b.spend(now, used)
	if b.full.Before(now) {
		b.full = now
	}
}

// looked notes what a look cost that just ended.
func (b *budget) looked(now time.Time, used time.Duration) {
	b.dearest = max(b.dearest, used)
	b.spend(now, used)
}

func (b *budget) spend(now time.Time, used time.Duration) {
	b.full = b.full.Add(used * time.Duration(b.share))
	if most := now.Add(b.toFill() + b.longest); b.full.After(most) {
		b.full = most
	}
}

// next returns when there is something to spend again.
func (b *budget) next() time.Time { return b.full.Add(-b.toFill()) }

// toFill returns how long it takes to save up all that can be.
func (b *budget) toFill() time.Duration {
	const looks = 3
	return max(b.reserve, looks*b.dearest) * time.Duration(b.share)
}
