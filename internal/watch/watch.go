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

// Watch is one run. Reload may be nil.
type Watch struct {
	Repairer   Repairer
	Log        *Log
	File       *Folder
	Reload     <-chan os.Signal // asks to apply the file, and to report again what is wrong
	Supervisor Supervisor
	Interval   time.Duration // between looks for changes without a notice
	For        time.Duration // how long to stay; 0 for as long as ctx lasts

	Drifted func() bool // whether something else than rules is not as it should be; nil for nothing

	Now func() time.Time
	CPU func() time.Duration // that the process has used

	pace    pace
	changes notify.Source        // nil if there is no source: each Interval asks for a look
	known   uint64               // the mark up to which nothing needs another look
	notices <-chan notify.Notice // of changes; nil if there are none
	quiet   context.CancelFunc   // ends the notices
	asking  *time.Ticker         // when to ask for a mark; nil: never
	polls   int
	used    time.Duration
	count   int
}

// lookWithin bounds one look, most of which can be waiting for the lock. The service manager must not take it for
// death.
const lookWithin = 10 * time.Second

// looksAnyway is after how many Intervals the rules are looked at although a mark that has to be asked for is the same.
const looksAnyway = 15

// Run applies the file and stays until ctx is done or its time is over, which is no error. What is live then stays
// live.
func (w *Watch) Run(ctx context.Context) error {
	w.pace = newPace()
	defer w.unfollow()
	if err := w.begin(ctx); err != nil {
		return err
	}
	w.Supervisor.Tell("READY=1", w.status())
	defer w.Supervisor.Tell("STOPPING=1")
	poll := time.NewTicker(w.Interval)
	defer poll.Stop()
	// twice as often as it wants to hear of us
	alive, stop := ticker(w.Supervisor.watchdog/2, w.Supervisor.watchdog > 0)
	defer stop()
	over, cancel := ticker(w.For, w.For > 0)
	defer cancel()
	for ctx.Err() == nil {
		now := w.Now()
		if at := w.pace.due(); !at.IsZero() && !at.After(now) {
			w.look(ctx)
			continue
		}
		w.warnOfFight(now)
		heard := w.notices
		if !w.pace.listens(now) {
			heard = nil
		}
		select {
		case <-ctx.Done():
		case n, open := <-heard:
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
		case <-w.asks():
			w.ask()
		case <-alive:
			w.Supervisor.Tell("WATCHDOG=1")
		case <-over:
			w.look(ctx) // what is pending is done
			return nil
		case <-until(w.pace.wakes(now), now):
		}
	}
	return nil
}

// begin applies the file for the first time. One that cannot be read ends it: there is nothing yet that could be kept.
func (w *Watch) begin(ctx context.Context) error {
	w.follow(ctx)
	before := w.mark()
	repaired, err := w.Repairer.Repair(ctx)
	if err != nil {
		return err
	}
	w.Log.repaired(repaired, nil)
	w.Log.watching(repaired.Total)
	w.settled(ctx, before, repaired)
	w.used = w.CPU() // what the beginning cost comes once
	return nil
}

// look repairs, and reports it. It first finds an edit that had no event yet.
func (w *Watch) look(ctx context.Context) {
	if w.File.Differs() {
		if w.edited(); w.pace.due().After(w.Now()) {
			return
		}
	}
	happened, by := w.pace.disturbed, w.pace.by
	w.pace.budget.rested(w.Now(), w.cost())
	before := w.mark()
	repaired, err := w.repair(ctx)
	now, cost := w.Now(), w.cost()
	if !repaired.Changed() { // changes have a limit of their own
		w.pace.budget.looked(now, cost)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.Log.failed(err)
		}
		w.pace.failed(now, w.Interval)
		return
	}
	w.pace.done()
	w.settled(ctx, before, repaired)
	w.Log.repaired(repaired, by)
	if repaired.Changed() && !repaired.Edited && !happened.IsZero() {
		w.pace.limit.spend(now, happened)
		w.count++
	}
	w.Supervisor.Tell(w.status())
}

func (w *Watch) repair(ctx context.Context) (Repaired, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	return w.Repairer.Repair(ctx)
}

// mark returns the present mark; 0 if there is none.
func (w *Watch) mark() uint64 {
	if w.changes == nil {
		return 0
	}
	mark, err := w.changes.Mark()
	if err != nil {
		return 0 // the next poll asks again, and looks if it gets no answer
	}
	return mark
}

// settled records the mark up to which nothing needs another look.
func (w *Watch) settled(ctx context.Context, before uint64, repaired Repaired) {
	if w.changes != nil {
		w.known = w.changes.Known(w.known, before, w.mark(), repaired.Changed())
	}
	if w.follow(ctx) {
		w.pace.disturb(w.Now(), "") // what changed before its changes were heard
	}
}

// follow begins to hear the changes of the rules in use, and reports whether these are now others than before.
func (w *Watch) follow(ctx context.Context) (moved bool) {
	changes := w.Repairer.Changes(ctx)
	if changes == w.changes {
		return false
	}
	w.unfollow()
	if w.changes = changes; changes == nil {
		return true
	}
	var hearing context.Context
	hearing, w.quiet = context.WithCancel(ctx)
	w.notices = changes.Notices(hearing)
	if every := changes.Every(); every > 0 {
		w.asking = time.NewTicker(every)
	}
	w.known = w.mark()
	return true
}

func (w *Watch) unfollow() {
	if w.quiet != nil {
		w.quiet()
	}
	if w.asking != nil {
		w.asking.Stop()
	}
	w.changes, w.notices, w.quiet, w.asking = nil, nil, nil, nil
}

func (w *Watch) asks() <-chan time.Time {
	if w.asking == nil {
		return nil
	}
	return w.asking.C
}

func (w *Watch) edited() { w.pace.editing(w.Now(), w.File.Unfinished()) }

func (w *Watch) hear(n notify.Notice) {
	if n.Lost || w.changes.After(n.Mark, w.known) {
		w.pace.disturb(w.Now(), n.By)
	}
}

// ask finds a change that had no notice.
func (w *Watch) ask() {
	if !w.pace.disturbed.IsZero() {
		return // and will be looked at
	}
	if mark, err := w.changes.Mark(); err != nil || w.changes.After(mark, w.known) {
		w.pace.disturb(w.Now(), "")
	}
}

// poll finds what had no notice and changed no mark.
func (w *Watch) poll() {
	if w.polls++; w.suspects() {
		w.pace.disturb(w.Now(), "")
	}
	if w.File.Differs() {
		w.edited()
	}
}

// suspects reports whether the rules may have changed since the last look.
func (w *Watch) suspects() bool {
	switch {
	case w.changes == nil || w.Drifted != nil && w.Drifted():
		return true
	case w.asking != nil:
		return w.polls%looksAnyway == 0
	}
	mark, err := w.changes.Mark()
	return err != nil || mark != w.known
}

func (w *Watch) warnOfFight(now time.Time) {
	if w.pace.disturbed.IsZero() {
		return
	}
	if pause, news := w.pace.limit.fight(now); news {
		w.Log.fight(w.pace.limit.burst, pause, w.pace.by)
		w.Supervisor.Tell("STATUS=others change the rules again and again: waiting")
	}
}

// cost returns what was used of the CPU since it was last asked for.
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

// ProcessCPU is the CPU of a Watch: what this process has used so far (clock_gettime(2)), and the programs that it ran.
func ProcessCPU() time.Duration {
	var own unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &own) // neither can fail on Linux
	var ran unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_CHILDREN, &ran)
	return time.Duration(own.Nano() + ran.Utime.Nano() + ran.Stime.Nano())
}
