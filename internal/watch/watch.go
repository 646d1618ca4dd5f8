package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"portmap/rules/notify"

	"golang.org/x/sys/unix"
)

// Watch is one run of `portmap watch`. Reload may be nil.
type Watch struct {
	Repairer   Repairer
	Log        *Log
	File       *Folder
	Reload     <-chan os.Signal // applies the file, and reports again what is wrong
	Supervisor Supervisor
	Interval   time.Duration // between searches for changes without a notice
	For        time.Duration // how long to run; 0 for as long as ctx lasts

	Drifted func() bool // whether state other than the rules differs; nil for no such state

	Now func() time.Time
	CPU func() time.Duration // CPU time that the process has used

	pace        pace
	changes     notify.Source        // nil if there is none: then each Interval asks for a check
	known       uint64               // the mark up to which nothing needs another check
	notices     <-chan notify.Notice // nil if there are none
	stopNotices context.CancelFunc
	markTicker  *time.Ticker // when to poll the mark; nil for never
	polls       int
	used        time.Duration // CPU time at the last call of cost
	count       int           // repairs
}

// checkTimeout bounds one check, most of which can be waiting for the lock. It is shorter than the watchdog of the
// service manager.
const checkTimeout = 10 * time.Second

// fullCheckEvery is the number of Intervals after which the rules are checked although a polled mark is the same.
const fullCheckEvery = 15

// Run applies the file, and watches until ctx is done or For is over; neither is an error. What is live then stays
// live.
func (w *Watch) Run(ctx context.Context) error {
	w.pace = newPace()
	defer w.unsubscribe()
	if err := w.begin(ctx); err != nil {
		return err
	}
	w.Supervisor.Notify("READY=1", w.status())
	defer w.Supervisor.Notify("STOPPING=1")
	poll := time.NewTicker(w.Interval)
	defer poll.Stop()
	// twice as often as the watchdog needs
	alive, stop := ticker(w.Supervisor.watchdog/2, w.Supervisor.watchdog > 0)
	defer stop()
	over, cancel := ticker(w.For, w.For > 0)
	defer cancel()
	for ctx.Err() == nil {
		now := w.Now()
		if at := w.pace.due(); !at.IsZero() && !at.After(now) {
			w.check(ctx)
			continue
		}
		w.warnOfFight(now)
		notices := w.notices
		if !w.pace.listens(now) {
			notices = nil
		}
		select {
		case <-ctx.Done():
		case n, open := <-notices:
			if !open && ctx.Err() == nil {
				return errors.New("the kernel's notifications ended")
			}
			w.hear(n)
		case e := <-w.File.Events():
			if w.File.About(e) {
				w.edited()
			}
		case <-w.File.Errors():
			w.edited()
		case <-w.Reload:
			w.Log.forget()
			w.pace.editing(w.Now(), false)
		case <-poll.C:
			w.poll()
		case <-w.markTicks():
			w.pollMark()
		case <-alive:
			w.Supervisor.Notify("WATCHDOG=1")
		case <-over:
			w.check(ctx) // for pending changes
			return nil
		case <-until(w.pace.wakes(now), now):
		}
	}
	return nil
}

// begin applies the file for the first time. If the file cannot be read it is an error: there is no valid version to
// keep.
func (w *Watch) begin(ctx context.Context) error {
	w.subscribe(ctx)
	before := w.mark()
	repaired, err := w.Repairer.Repair(ctx)
	if err != nil {
		return err
	}
	w.Log.repaired(repaired, nil)
	w.Log.watching(repaired.Total)
	w.recordKnown(ctx, before, repaired)
	w.used = w.CPU() // the start does not count
	return nil
}

// check repairs, and reports it. It first finds an edit that had no event yet.
func (w *Watch) check(ctx context.Context) {
	if w.File.Differs() {
		if w.edited(); w.pace.due().After(w.Now()) {
			return
		}
	}
	happened, by := w.pace.disturbed, w.pace.by
	w.pace.budget.beginCheck(w.Now(), w.cost())
	before := w.mark()
	repaired, err := w.repair(ctx)
	now, cost := w.Now(), w.cost()
	if !repaired.Changed() { // changes have a limit of their own
		w.pace.budget.endCheck(now, cost)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.Log.failed(err)
		}
		w.pace.failed(now, w.Interval)
		return
	}
	w.pace.done()
	w.recordKnown(ctx, before, repaired)
	w.Log.repaired(repaired, by)
	if repaired.Changed() && !repaired.Edited && !happened.IsZero() {
		w.pace.limit.spend(now, happened)
		w.count++
	}
	w.Supervisor.Notify(w.status())
}

func (w *Watch) repair(ctx context.Context) (Repaired, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return w.Repairer.Repair(ctx)
}

// mark returns the current mark; 0 if there is none.
func (w *Watch) mark() uint64 {
	if w.changes == nil {
		return 0
	}
	mark, err := w.changes.Mark()
	if err != nil {
		return 0 // the next poll asks again, and checks if it gets no answer
	}
	return mark
}

// recordKnown records the mark up to which nothing needs another check.
func (w *Watch) recordKnown(ctx context.Context, before uint64, repaired Repaired) {
	if w.changes != nil {
		w.known = w.changes.Known(w.known, before, w.mark(), repaired.Changed())
	}
	if w.subscribe(ctx) {
		w.pace.disturb(w.Now(), "") // for changes before the subscription
	}
}

// subscribe subscribes to the changes of the rules in use, and reports whether the source is another one than before.
func (w *Watch) subscribe(ctx context.Context) (moved bool) {
	changes := w.Repairer.Changes(ctx)
	if changes == w.changes {
		return false
	}
	w.unsubscribe()
	if w.changes = changes; changes == nil {
		return true
	}
	var listening context.Context
	listening, w.stopNotices = context.WithCancel(ctx)
	w.notices = changes.Notices(listening)
	if every := changes.Every(); every > 0 {
		w.markTicker = time.NewTicker(every)
	}
	w.known = w.mark()
	return true
}

func (w *Watch) unsubscribe() {
	if w.stopNotices != nil {
		w.stopNotices()
	}
	if w.markTicker != nil {
		w.markTicker.Stop()
	}
	w.changes, w.notices, w.stopNotices, w.markTicker = nil, nil, nil, nil
}

func (w *Watch) markTicks() <-chan time.Time {
	if w.markTicker == nil {
		return nil
	}
	return w.markTicker.C
}

func (w *Watch) edited() { w.pace.editing(w.Now(), w.File.Unfinished()) }

func (w *Watch) hear(n notify.Notice) {
	if n.Lost || w.changes.After(n.Mark, w.known) {
		w.pace.disturb(w.Now(), n.By)
	}
}

// pollMark finds a change that had no notice.
func (w *Watch) pollMark() {
	if !w.pace.disturbed.IsZero() {
		return // a check is due anyway
	}
	if mark, err := w.changes.Mark(); err != nil || w.changes.After(mark, w.known) {
		w.pace.disturb(w.Now(), "")
	}
}

// poll finds changes that had no notice and changed no mark.
func (w *Watch) poll() {
	if w.polls++; w.mayHaveChanged() {
		w.pace.disturb(w.Now(), "")
	}
	if w.File.Differs() {
		w.edited()
	}
}

// mayHaveChanged reports whether the rules may have changed since the last check.
func (w *Watch) mayHaveChanged() bool {
	switch {
	case w.changes == nil || w.Drifted != nil && w.Drifted():
		return true
	case w.markTicker != nil:
		return w.polls%fullCheckEvery == 0
	}
	mark, err := w.changes.Mark()
	return err != nil || mark != w.known
}

func (w *Watch) warnOfFight(now time.Time) {
	if w.pace.disturbed.IsZero() {
		return
	}
	if pause, begins := w.pace.limit.fight(now); begins {
		w.Log.fight(w.pace.limit.burst, pause, w.pace.by)
		w.Supervisor.Notify("STATUS=others change the rules again and again: waiting")
	}
}

// cost returns the CPU time used since the last call.
func (w *Watch) cost() time.Duration {
	before := w.used
	w.used = w.CPU()
	return w.used - before
}

func (w *Watch) status() string {
	return fmt.Sprintf("STATUS=watching; rules were put back %d times", w.count)
}

func ticker(every time.Duration, wanted bool) (<-chan time.Time, func()) {
	if !wanted {
		return nil, func() {}
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

func until(at, now time.Time) <-chan time.Time {
	if at.IsZero() {
		return nil
	}
	return time.After(at.Sub(now))
}

// ProcessCPU returns the CPU time of this process so far (clock_gettime(2)), and of the programs that it ran.
func ProcessCPU() time.Duration {
	var own unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &own) // neither can fail on Linux
	var ran unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &ran)
	return time.Duration(own.Nano() + ran.Utime.Nano() + ran.Stime.Nano())
}
