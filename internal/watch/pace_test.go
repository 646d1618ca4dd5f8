package watch

import (
	"slices"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	const ms = time.Millisecond
	after := start.Add
	tests := []struct {
		name string
		do   func(*pace)
		want time.Duration // from start; less than 0 for never
	}{
		{"nothing happened", func(*pace) {}, -1},
		{"one notification", func(p *pace) { p.disturb(start, "nft") }, 3 * ms},
		{"a burst does not put it off", func(p *pace) {
			for i := range 10 {
				p.disturb(after(time.Duration(i)*ms), "nft")
			}
		}, 3 * ms},
		{"an edit", func(p *pace) { p.editing(start, false) }, 50 * ms},
		{"an edit in pieces", func(p *pace) { p.editing(start, false); p.editing(after(40*ms), false) }, 90 * ms},
		{"an edit without end", func(p *pace) {
			for i := range 100 {
				p.editing(after(time.Duration(i)*40*ms), false)
			}
		}, 500 * ms},
		{"an edit that is half written", func(p *pace) { p.editing(start, true) }, time.Second},
		{"and then whole", func(p *pace) { p.editing(start, true); p.editing(after(200*ms), false) }, 250 * ms},
		{"an edit that fails", func(p *pace) { p.editing(start, false); p.failed(start, time.Second) }, time.Second},
		{"both, and it is half written", func(p *pace) { p.editing(start, true); p.disturb(start, "") }, time.Second},
		{"both: the sooner", func(p *pace) { p.editing(start, false); p.disturb(start, "") }, 3 * ms},
		{"after an error", func(p *pace) { p.disturb(start, ""); p.failed(start, time.Second) }, time.Second},
		{"in a fight", func(p *pace) {
			for range 10 {
				p.limit.spend(start, start)
			}
			p.disturb(start, "")
		}, 5 * time.Second},
		{"an edit in a fight", func(p *pace) {
			for range 10 {
				p.limit.spend(start, start)
			}
			p.disturb(start, "")
			p.editing(start, false)
		}, 50 * ms},
		{"too much was used", func(p *pace) { spendAll(p); p.disturb(start, "") }, 320 * ms},
		{"it was checked", func(p *pace) { p.disturb(start, ""); p.editing(start, false); p.done() }, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPace()
			test.do(&p)
			switch due := p.due(); {
			case test.want < 0 && !due.IsZero():
				t.Errorf("due after %v, want never", due.Sub(start))
			case test.want >= 0 && !due.Equal(after(test.want)):
				t.Errorf("due after %v, want %v", due.Sub(start), test.want)
			}
		})
	}
}

// spendAll checks until nothing is saved up, and ten milliseconds too many are used.
func spendAll(p *pace) {
	for range 6 {
		p.budget.check(10 * time.Millisecond)
	}
}

func TestListens(t *testing.T) {
	p := newPace()
	if !p.listens(start) || !p.wakes(start).IsZero() {
		t.Error("nothing happened, and it does not listen")
	}
	p.disturb(start, "nft")
	p.disturb(start, "iptables")
	p.disturb(start, "nft")
	if want := []string{"nft", "iptables"}; !slices.Equal(p.by, want) {
		t.Errorf("changes by %v, want %v", p.by, want)
	}
	if !p.listens(start.Add(time.Millisecond)) {
		t.Error("it does not listen during a burst")
	}
	if p.listens(start.Add(time.Second)) {
		t.Error("it listens although a check is due")
	}
	p.done()
	spendAll(&p)
	if p.listens(start) {
		t.Error("it listens although no CPU time is left")
	}
	if back := p.wakes(start); !back.Equal(start.Add(320*time.Millisecond)) || !p.listens(back) {
		t.Errorf("it listens again after %v", back.Sub(start))
	}
}
