package watch

import (
	"testing"
	"time"
)

// start is when the clocks of these tests begin.
var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func newLimit() limit { return limit{burst: 3, refill: 5 * time.Second, longest: 20 * time.Second} }

func TestLimit(t *testing.T) {
	type repair struct{ happened, allowed float64 } // in seconds
	tests := []struct {
		name    string
		repairs []repair
	}{
		{"a burst at once, then longer and longer pauses", []repair{
			{0, 0}, {0.1, 0.1}, {0.2, 0.2}, {0.3, 5.2}, {5.3, 15.2}, {15.3, 35.2}, {35.3, 55.2}, {55.3, 75.2},
		}},
		{"each as late as one comes back: never a pause", []repair{{0, 0}, {5, 5}, {10, 10}, {15, 15}, {20, 20},
			{25, 25}}},
		{"two of a burst come back in time", []repair{{0, 0}, {0.1, 0.1}, {10.2, 10.2}, {10.3, 10.3}, {10.4, 10.4},
			{10.5, 15.4}}},
		{"a fight ends when what was put back lasts for the pause", []repair{
			{0, 0}, {0, 0}, {0, 0}, {1, 5}, {16, 16}, {16.1, 16.1}, {16.2, 16.2}, {16.3, 21.2},
		}},
		{"and goes on when it does not", []repair{{0, 0}, {0, 0}, {0, 0}, {1, 5}, {14.9, 15}, {34.9, 35}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLimit()
			for i, h := range test.repairs {
				got := at(h.happened)
				if l.next().After(got) {
					got = l.next()
				}
				if !got.Equal(at(h.allowed)) {
					t.Fatalf("change %d, at %vs, waits until %v, want %vs", i, h.happened, got.Sub(start), h.allowed)
				}
				l.spend(got, at(h.happened))
			}
		})
	}
}

func TestFightIsReportedOnce(t *testing.T) {
	l := newLimit()
	reported := func(seconds float64) bool { _, begins := l.fight(at(seconds)); return begins }
	for range 3 {
		if reported(0) {
			t.Error("reported before there is a fight")
		}
		l.spend(at(0), at(0))
	}
	if pause, begins := l.fight(at(1)); !begins || pause != 5*time.Second {
		t.Errorf("reported: %v, pause %v", begins, pause)
	}
	l.spend(at(5), at(1))
	if reported(6) {
		t.Error("reported twice in one fight")
	}
	for range 3 {
		l.spend(at(100), at(100))
	}
	if !reported(101) {
		t.Error("the next fight is not reported")
	}
}

func newBudget() budget {
	return budget{share: 32, reserve: 50 * time.Millisecond, longest: 10 * time.Second}
}

func (b *budget) check(cost time.Duration) {
	b.beginCheck(at(0), 0)
	b.endCheck(at(0), cost)
}

func TestBudget(t *testing.T) {
	b := newBudget()
	if b.next().After(at(0)) {
		t.Error("nothing was spent, and it waits")
	}
	for range 5 {
		b.check(10 * time.Millisecond)
	}
	if b.next().After(at(0)) {
		t.Error("what was saved up cannot be spent")
	}
	b.check(10 * time.Millisecond)
	if want := at(0.32); !b.next().Equal(want) {
		t.Errorf("waits until %v, want %v", b.next().Sub(start), want.Sub(start))
	}
	// Use as much as is allowed, for a minute.
	used := time.Duration(0)
	for now := at(0); now.Before(at(60)); now = latest(b.next(), now).Add(time.Microsecond) {
		b.beginCheck(now, time.Millisecond)
		b.endCheck(now, time.Millisecond)
		used += 2 * time.Millisecond
	}
	if most := time.Minute/32 + 60*time.Millisecond; used > most {
		t.Errorf("%v of CPU time in a minute, want at most %v", used, most)
	}
}

// CPU time that was used in an idle hour is no reason to wait.
func TestBudgetAfterPeace(t *testing.T) {
	b := newBudget()
	b.check(10 * time.Millisecond)
	b.beginCheck(at(3600), 50*time.Second)
	b.endCheck(at(3600), 10*time.Millisecond)
	if b.next().After(at(3600)) {
		t.Errorf("it waits until %v", b.next().Sub(start))
	}
}

// Some checks can be saved up, whatever one costs, and a cheaper one between them does not reduce that.
func TestBudgetForExpensiveChecks(t *testing.T) {
	b := newBudget()
	for _, cost := range []time.Duration{200, 200, 20} {
		b.check(cost * time.Millisecond)
		if b.next().After(at(0)) {
			t.Errorf("it waits until %v", b.next().Sub(start))
		}
	}
}

// The next check is not put off for longer than the longest pause, however slow the host.
func TestBudgetHasALongestPause(t *testing.T) {
	b := newBudget()
	for range 10 {
		b.check(time.Second)
	}
	if want := at(10); !b.next().Equal(want) {
		t.Errorf("waits until %v, want %v", b.next().Sub(start), want.Sub(start))
	}
}
