package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is one run. Kernel and Reload may be nil.
type Watch struct {
	Healer     Healer
	Log        *Log
	Kernel     *Kernel                 // nil: nobody tells of changes, and each Interval asks for a look
	Legacy     func() (*Legacy, error) // opens a glance at the tables of iptables-legacy, where mappings are there
	File       *Folder
	Reload     <-chan os.Signal // the file is to be applied, and what is wrong said again
	Supervisor Supervisor
	Interval   time.Duration // between looks at what no notification tells
	For        time.Duration // how long to stay; 0 for as long as ctx lasts

	Now func() time.Time
	CPU func() time.Duration // that the process has used

	pace    pace
	known   uint32  // the generation up to which everything was looked at
	legacy  *Legacy // nil: the mappings are not in tables of iptables-legacy
	shape   Shape   // of those tables when a look last found nothing to do
	glances *time.Ticker
	polls   int
	used    time.Duration
	count   int
}

// lookWithin bounds one look, most of which can be waiting for the lock. The service manager must not take it for death.
const lookWithin = 10 * time.Second

// glanceEvery is how long a change of iptables-legacy goes unnoticed.
const glanceEvery = 20 * time.Millisecond

// looksAnyway is after how many Intervals the rules of iptables-legacy are looked at although they seem to be the same.
const looksAnyway = 15

// Run applies the file and stays until ctx is done or its time is over, which is no error. What is live then stays live.
func (w *Watch) Run(ctx context.Context) error {
	w.pace = newPace()
	if err := w.begin(ctx); err != nil {
		return err
	}
	w.Supervisor.Tell("READY=1", w.status())
	defer w.Supervisor.Tell("STOPPING=1")
	var notices <-chan Notice
	if w.Kernel != nil {
		notices = w.Kernel.Notices(ctx)
	}
	poll := time.NewTicker(w.Interval)
	defer poll.Stop()
	defer w.leaveLegacy()
	alive, stop := ticker(w.Supervisor.watchdog/2, w.Supervisor.watchdog > 0) // twice as often as it wants to hear of us
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
		heard := notices
		if !w.pace.listens(now) || w.Healer.Silent() { // nf_tables has no news of the rules of iptables-legacy
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
		case <-w.glancing():
			w.glance()
		case <-alive:
			w.Supervisor.Tell("WATCHDOG=1")
		case <-over:
			w.look(ctx) // what is pending is not left to nobody
			return nil
		case <-until(w.pace.wakes(now), now):
		}
	}
	return nil
}

// begin applies the file for the first time. One that cannot be read ends it: there is nothing yet that could be kept.
func (w *Watch) begin(ctx context.Context) error {
	before, err := w.sees()
	if err != nil {
		return err
	}
	healed, err := w.Healer.Heal(ctx)
	if err != nil {
		return err
	}
	w.Log.healed(healed, nil)
	w.Log.watching(healed.Total)
	w.settled(before, healed)
	w.used = w.CPU() // what the beginning cost comes once
	return nil
}

// look heals, and tells of it. An edit of which no event has told yet is found first.
func (w *Watch) look(ctx context.Context) {
	if w.File.Differs() {
		if w.edited(); w.pace.due().After(w.Now()) {
			return
		}
	}
	happened, by := w.pace.disturbed, w.pace.by
	w.pace.budget.rested(w.Now(), w.cost())
	before, err := w.sees()
	var healed Healed
	if err == nil {
		healed, err = w.heal(ctx)
	}
	now, cost := w.Now(), w.cost()
	if !healed.Changed() { // changes have a limit of their own
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
	w.settled(before, healed)
	w.Log.healed(healed, by)
	if healed.Changed() && !healed.Edited && !happened.IsZero() {
		w.pace.limit.spend(now, happened)
		w.count++
	}
	w.Supervisor.Tell(w.status())
}

func (w *Watch) heal(ctx context.Context) (Healed, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	return w.Healer.Heal(ctx)
}

// sight is what can be seen of the kernel without a look at the rules.
type sight struct {
	generation uint32
	shape      Shape
}

func (w *Watch) sees() (s sight, err error) {
	if s.generation, err = w.generation(); err == nil && w.legacy != nil {
		s.shape, _ = w.legacy.Glance() // an error shows in the next glance
	}
	return s, err
}

// settled notes what needs no other look: the transactions before this one, and where there was but one since, our own. A
// change of our own to the tables of iptables-legacy leaves them in the shape that they had, or is looked at once more:
// somebody else may have been there right after it.
func (w *Watch) settled(before sight, healed Healed) {
	w.known = before.generation
	if after, err := w.generation(); err == nil && healed.Changed() && after == before.generation+1 {
		w.known = after
	}
	if !healed.Changed() {
		w.shape = before.shape
	}
	w.followLegacy()
}

// followLegacy begins and ends to glance at the tables of iptables-legacy, as mappings come there or go.
func (w *Watch) followLegacy() {
	if !w.Healer.Silent() {
		w.leaveLegacy()
		return
	}
	if w.legacy == nil {
		var err error
		if w.legacy, err = w.Legacy(); err != nil {
			return // what is left is the poll
		}
		w.glances, w.shape = time.NewTicker(glanceEvery), Shape{}
	}
}

func (w *Watch) leaveLegacy() {
	if w.legacy != nil {
		w.glances.Stop()
		_ = w.legacy.Close()
		w.legacy = nil
	}
}

func (w *Watch) glancing() <-chan time.Time {
	if w.legacy == nil {
		return nil
	}
	return w.glances.C
}

func (w *Watch) generation() (uint32, error) {
	if w.Kernel == nil {
		return 0, nil
	}
	return w.Kernel.Generation()
}

func (w *Watch) edited() { w.pace.editing(w.Now(), w.File.Unfinished()) }

func (w *Watch) hear(n Notice) {
	if n.Lost || int32(n.Generation-w.known) > 0 { // it begins again after its end
		w.pace.disturb(w.Now(), n.By)
	}
}

// glance finds that somebody changed rules of iptables-legacy.
func (w *Watch) glance() {
	if !w.pace.disturbed.IsZero() {
		return // and will be looked at
	}
	if shape, err := w.legacy.Glance(); err != nil || shape != w.shape {
		w.pace.disturb(w.Now(), "")
	}
}

// poll finds what was neither told nor glanced at.
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
	case w.legacy != nil:
		return w.polls%looksAnyway == 0
	case w.Kernel == nil || w.Healer.Silent():
		return true
	}
	generation, err := w.generation()
	return err != nil || generation != w.known
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
