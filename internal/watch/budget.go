package watch

import "time"

// budget holds the process to a share of one core, whatever others do to the kernel's rules. What was saved up may be spent
// at once, so that a single disturbance is met without delay.
type budget struct {
	share   int           // one part in so many
	reserve time.Duration // of CPU time that can be saved up
	dearest time.Duration // the last look: a few of them can be saved up, however large the rules are
	full    time.Time     // when all that can be saved up will be
}

// spend notes CPU time that was used until now.
func (b *budget) spend(now time.Time, used time.Duration) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(used * time.Duration(b.share))
}

// looked notes what one look cost. It was spent already.
func (b *budget) looked(used time.Duration) { b.dearest = used }

// next returns when there is something to spend again.
func (b *budget) next() time.Time {
	return b.full.Add(-max(b.reserve, 3*b.dearest) * time.Duration(b.share))
}
