package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"pgregory.net/rapid"
)

// The steps of TestModel: each does something to the host, and to the model of it.

func (m *machine) add(rt *rapid.T) {
	f, other := m.file(rt)
	mapping := m.mapping(rt)
	args := append([]string{"add"}, strings.Fields(mapping.String())...)
	replace := rapid.Bool().Draw(rt, "replace")
	if replace {
		args = append(args, "--replace")
	}
	own, ok := m.own(f)
	next := own
	switch {
	case !ok:
	case replace:
		var err error
		next, _, err = own.Replace(mapping)
		ok = err == nil
	default:
		with, err := own.Add(mapping)
		next, ok = with, err == nil
	}
	if ok && other.recorded {
		_, err := other.saved.Add(mapping)
		ok = err == nil
	}
	unsaved := m.live.Remove(own.Mappings()...)
	if ok && !replace && len(inTheWay(unsaved, mapping)) > 0 {
		ok = false
	}
	m.runs(f, ok, args...)
	if !ok {
		return
	}
	f.saved = plain(next)
	gone := append(rules.Minus(own.Mappings(), next.Mappings()), inTheWay(m.live, mapping)...)
	m.live = m.unite(m.live.Remove(gone...), mapping)
}

func (m *machine) remove(rt *rapid.T) {
	f, other := m.file(rt)
	own := f.saved
	for _, t := range temporaries(m.live) {
		if with, err := own.Add(t); err == nil {
			own = with
		}
	}
	all := append(own.Mappings(), m.live.Mappings()...)
	if len(all) == 0 {
		rt.Skip("nothing to remove")
	}
	selector := rapid.SampledFrom(all).Draw(rt, "selector").String()
	known := own
	if other.recorded {
		known = greedy(known, other.saved.Mappings())
	}
	if len(known.Find(selector, nil)) == 0 {
		known = greedy(known, m.live.Mappings())
	}
	found := known.Find(selector, nil)
	ok := len(found) == 1 && (own.Has(found[0]) || !other.recorded || !other.saved.Has(found[0]))
	m.runs(f, ok, "remove", selector)
	if !ok {
		return
	}
	f.saved = f.saved.Remove(found...)
	if !other.recorded || !other.saved.Has(found[0]) {
		m.live = m.live.Remove(found...)
	}
}

// greedy adds those of some mappings that go with a Set and with each other.
func greedy(s rules.Set, more []rules.Mapping) rules.Set {
	for _, m := range more {
		if with, err := s.Add(m); err == nil {
			s = with
		}
	}
	return s
}

func (m *machine) removeAll(rt *rapid.T) {
	f, other := m.file(rt)
	m.runs(f, true, "remove", "--all")
	f.saved = rules.Set{}
	m.live, _ = rules.NewSet(m.held(f, other)...)
}

// desired returns what is live after an apply; false where that fails.
func (m *machine) desired(f, other *file) (rules.Set, bool) {
	own, ok := m.own(f)
	if !ok {
		return own, false
	}
	desired, err := own.Add(m.held(f, other)...)
	if err != nil {
		return own, false
	}
	gone := plain(m.live.Remove(desired.Mappings()...))
	return desired, f.saved.Len() > 0 || gone.Len() == 0
}

func (m *machine) apply(rt *rapid.T) {
	f, other := m.file(rt)
	desired, ok := m.desired(f, other)
	if _, err := os.Stat(f.file); os.IsNotExist(err) && plain(desired).Len() > 0 {
		ok = false // what is live is the other file's: the name may be mistyped
	}
	m.runs(f, ok, "apply")
	if ok {
		m.live = desired
	}
}

func (m *machine) edit(rt *rapid.T) {
	f, other := m.file(rt)
	set := rules.Set{}
	for _, line := range rapid.SliceOfN(rapid.SampledFrom(pool), 0, 4).Draw(rt, "lines") {
		set = greedy(set, lab.Mappings(m.t, line))
	}
	before := f.saved
	f.saved = set
	desired, ok := m.desired(f, other)
	if m.guard != nil && f == m.files[0] && (!ok || set.Len() == 0) {
		f.saved = before
		rt.Skip("the watch would keep what the file said before")
	}
	text := m.b.line()
	for _, mapping := range set.Mappings() {
		text += mapping.String() + "\n"
	}
	rt.Logf("%s: edited: %q", filepath.Base(f.file), text)
	write(m.t, f.file, text)
	if m.guard != nil && f == m.files[0] {
		f.recorded = f.recorded || !slices.Equal(sorted(desired), sorted(m.live))
		m.live = desired
	}
}

func (m *machine) flush(rt *rapid.T) {
	f, _ := m.file(rt)
	before := m.live
	m.runs(f, true, "flush")
	m.flushed(before)
}

func (m *machine) foreignFlush(*rapid.T) {
	before := m.live
	m.b.flush(m.host)
	m.rt.Log("somebody flushed everything")
	m.flushed(before)
}

// flushed is what remains: nothing, or what the watch puts back. A temporary mapping that it has not seen yet is lost.
func (m *machine) flushed(before rules.Set) {
	m.live = rules.Set{}
	if m.guard == nil {
		return
	}
	must := m.files[0].saved
	most := m.unite(must, temporaries(before)...)
	m.live = m.settles(must, most)
}

// settles waits until everything that may come back is there, or what must, for a while.
func (m *machine) settles(must, most rules.Set) rules.Set {
	since := time.Time{}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		live, err := m.b.live(m.t, m.host).Set()
		switch {
		case err != nil || len(rules.Minus(must.Mappings(), live.Mappings())) > 0:
			since = time.Time{}
		case live.Len() == most.Len():
			return most
		case since.IsZero():
			since = time.Now()
		case time.Since(since) > 500*time.Millisecond:
			return live
		}
	}
	m.rt.Fatalf("what must be live is not there after %s: %v; the watch says\n%s", patience, sorted(must), m.guard.log)
	return rules.Set{}
}

// patience is how long a watch may take that was disturbed again and again: it has a limit.
const patience = 60 * time.Second

// kill ends an add at any moment. The next apply makes file and kernel agree.
func (m *machine) kill(rt *rapid.T) {
	f, other := m.file(rt)
	mapping := lab.Mappings(m.t, rapid.SampledFrom(pool).Draw(rt, "mapping"))[0]
	own, ok := m.own(f)
	next, err := own.Add(mapping)
	if !ok || err != nil || len(inTheWay(m.live, mapping)) > 0 || other.recorded &&
		len(inTheWay(other.saved, mapping)) > 0 {
		rt.Skip("that add fails by itself")
	}
	cmd := f.cmd(append([]string{"add"}, strings.Fields(mapping.String())...)...)
	m.host.Do(func() { err = cmd.Start() })
	if err != nil {
		rt.Fatal(err)
	}
	time.Sleep(time.Duration(rapid.IntRange(0, 60_000).Draw(rt, "microseconds")) * time.Microsecond)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if saved := m.read(f); saved.Has(mapping) {
		f.saved = plain(next)
	}
	if desired, ok := m.desired(f, other); ok && f.saved.Len() > 0 {
		m.runs(f, true, "apply")
		m.live = desired
		return
	}
	m.runs(f, true, "remove", "--all")
	f.saved = rules.Set{}
	m.live, _ = rules.NewSet(m.held(f, other)...)
}

func (m *machine) reboot(*rapid.T) {
	m.endWatch()
	m.rt.Log("reboot")
	m.boot()
	for _, f := range m.files {
		f.host, f.recorded = m.host, false
	}
	m.runs(m.files[0], true, "apply", "--keep-going")
	m.live = m.files[0].saved
}

func (m *machine) watch(rt *rapid.T) {
	if m.guard != nil {
		m.rt.Log("the watch ends")
		m.endWatch()
		return
	}
	desired, ok := m.desired(m.files[0], m.files[1])
	if !ok {
		rt.Skip("it would not begin")
	}
	w := m.files[0].watch()
	m.guard = &w
	if !slices.Equal(sorted(desired), sorted(m.live)) {
		m.files[0].recorded = true
	}
	m.live = desired
	m.rt.Log("a watch begins")
}
