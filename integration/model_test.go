package integration

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"pgregory.net/rapid"
)

// The whole command against a model: random sequences of changes, of edits, of faults, and of what others do to the
// host. After each step, files and kernel must hold what the model says.
//
//	go test ./integration -run TestModel -rapid.checks=1000 -rapid.steps=60    a longer run
//	go test ./integration -run TestModel -rapid.seed=N                         a run again
func TestModel(t *testing.T) {
	few(t, "3")
	eachBackend(t, func(t *testing.T, b backend) {
		rapid.Check(t, func(rt *rapid.T) {
			m := newMachine(t, rt, b)
			defer m.end()
			rt.Repeat(map[string]func(*rapid.T){
				"add":           m.add,
				"remove":        m.remove,
				"remove all":    m.removeAll,
				"apply":         m.apply,
				"edit":          m.edit,
				"flush":         m.flush,
				"foreign flush": m.foreignFlush,
				"kill":          m.kill,
				"reboot":        m.reboot,
				"watch":         m.watch,
				"":              m.check,
			})
		})
	})
}

// few bounds the sequences of an ordinary run, in which nobody says how many, and leaves no file of one that failed.
// They are the same in each run: a change is judged by what it changes. A longer run takes others.
func few(t *testing.T, checks string) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.seed": "1", "rapid.nofailfile": "true"} {
		f := flag.Lookup(name)
		if before := f.Value.String(); !given[name] && (name != "rapid.seed" || !given["rapid.checks"]) {
			_ = f.Value.Set(value) // which is a valid one
			t.Cleanup(func() { _ = f.Value.Set(before) })
		}
	}
}

// pool is what the steps choose from. Several claim the same packets, and none leads back to itself.
var pool = []string{
	"443:8443/tcp", "443:9443/tcp", "443:8443/tcp,udp", "192.0.2.1:443:7443/tcp", "443:6443/tcp -4",
	"443:5443/tcp --source 10.0.0.0/8",
	"80:8080/tcp", "80:8080/tcp --name web", "81:8081/udp", "82:8082/udp --name web", "8000-8010:9000-9010/tcp",
	"8005:9105/tcp",
	"[2001:db8::1]:90:9090/tcp", "90:9091/tcp --interface eth0", "90:9092/tcp --interface eth1",
}

// file is one of two files of mappings, as the model has it.
type file struct {
	portmap
	saved    rules.Set
	recorded bool // its mappings went into the kernel of this host
}

// machine is a host under test, and the model of it.
type machine struct {
	t     *testing.T
	rt    *rapid.T
	b     backend
	dir   string
	host  *lab.Host
	files [2]*file
	live  rules.Set // what the kernel holds
	guard *watching // of the first file; nil while none runs
}

func newMachine(t *testing.T, rt *rapid.T, b backend) *machine {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		rt.Fatal(err)
	}
	m := &machine{t: t, rt: rt, b: b, dir: dir}
	m.boot()
	for i, name := range [...]string{"a.conf", "b.conf"} {
		p := b.command(t, m.host)
		p.file = filepath.Join(dir, name)
		m.files[i] = &file{portmap: p}
	}
	return m
}

// boot gives the machine a new host, whose kernel holds nothing.
func (m *machine) boot() {
	m.host = lab.New(m.t).Host("host")
	m.b.prefer(m.host)
	m.live = rules.Set{}
}

func (m *machine) end() {
	m.endWatch()
	_ = os.RemoveAll(m.dir)
}

func (m *machine) endWatch() {
	if m.guard != nil {
		m.guard.ends(syscall.SIGKILL)
		m.guard = nil
	}
}

// mapping draws one of the pool, sometimes as a temporary one.
func (m *machine) mapping(rt *rapid.T) rules.Mapping {
	line := rapid.SampledFrom(pool).Draw(rt, "mapping")
	if rapid.IntRange(0, 4).Draw(rt, "temporary") == 0 {
		line += " --temporary"
	}
	return lab.Mappings(m.t, line)[0]
}

func (m *machine) file(rt *rapid.T) (f, other *file) {
	i := 0
	if rapid.IntRange(0, 3).Draw(rt, "file") == 0 {
		i = 1
	}
	return m.files[i], m.files[1-i]
}

// held returns the live mappings of a recorded file that is not the one given.
func (m *machine) held(f, other *file) (held []rules.Mapping) {
	if !other.recorded {
		return nil
	}
	for _, l := range m.live.Mappings() {
		if other.saved.Has(l) && !f.saved.Has(l) {
			held = append(held, l)
		}
	}
	return held
}

func temporaries(s rules.Set) (list []rules.Mapping) {
	for _, m := range s.Mappings() {
		if m.Temporary() {
			list = append(list, m)
		}
	}
	return list
}

// inTheWay returns those of a Set that cannot stand beside a mapping.
func inTheWay(s rules.Set, m rules.Mapping) (list []rules.Mapping) {
	for _, o := range s.Mappings() {
		if _, err := rules.NewSet(o, m); err != nil {
			list = append(list, o)
		}
	}
	return list
}

// own returns the mappings of a file and the temporary ones; false where they do not go together.
func (m *machine) own(f *file) (rules.Set, bool) {
	own, err := f.saved.Add(temporaries(m.live)...)
	return own, err == nil
}

// plain returns those of some mappings that are saved.
func plain(s rules.Set) rules.Set {
	return s.Remove(temporaries(s)...)
}

// unite adds mappings that are known to go with a Set.
func (m *machine) unite(s rules.Set, more ...rules.Mapping) rules.Set {
	all, err := s.Add(more...)
	if err != nil {
		m.rt.Fatalf("the model contradicts itself: %v", err)
	}
	return all
}

// runs runs the command, which must succeed or fail as the model says.
func (m *machine) runs(f *file, succeeds bool, args ...string) {
	r := f.try(args...)
	m.rt.Logf("%s: portmap %s: exit %d %s%s", filepath.Base(f.file), strings.Join(args, " "), r.Code, r.Out, r.Err)
	if (r.Code == 0) != succeeds {
		m.rt.Fatalf("it ended with %d; the model has %v saved, %v live", r.Code, sorted(f.saved), sorted(m.live))
	}
	if info, err := os.Stat(f.file); succeeds && args[0] != "flush" && err == nil && info.Size() > 0 {
		f.recorded = true
	}
}

func sorted(s rules.Set) (list []string) {
	for _, m := range s.Mappings() {
		list = append(list, m.String())
	}
	slices.Sort(list)
	return list
}

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

// read returns what a file holds.
func (m *machine) read(f *file) rules.Set {
	content, err := os.ReadFile(f.file)
	if err != nil && !os.IsNotExist(err) {
		m.rt.Fatal(err)
	}
	set := rules.Set{}
	for _, line := range strings.Split(string(content), "\n") {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "backend" && words[0][0] != '#' {
			set = m.unite(set, lab.Mappings(m.t, line)...)
		}
	}
	return set
}

// check holds the files and the kernel to the model.
func (m *machine) check(rt *rapid.T) {
	for _, f := range m.files {
		if got, want := sorted(m.read(f)), sorted(f.saved); !slices.Equal(got, want) {
			rt.Fatalf("%s holds %v; the model %v", filepath.Base(f.file), got, want)
		}
	}
	must := m.live
	if m.guard != nil { // what no file holds goes when the watch looks next
		must = m.live.Remove(m.loose()...)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		live := m.b.live(m.t, m.host)
		set, err := live.Set()
		missing := rules.Minus(must.Mappings(), set.Mappings())
		if err == nil && live.Damaged == "" && len(missing) == 0 &&
			len(rules.Minus(set.Mappings(), m.live.Mappings())) == 0 {
			m.live = set
			return
		}
		if m.guard == nil || time.Now().After(end) {
			rt.Fatalf("live are %v (%s, %v); the model has %v", sorted(set), live.Damaged, err, sorted(m.live))
		}
	}
}

// loose returns the live mappings that are in no file that is known, and not temporary.
func (m *machine) loose() []rules.Mapping {
	loose := plain(m.live).Remove(m.files[0].saved.Mappings()...)
	if m.files[1].recorded {
		loose = loose.Remove(m.files[1].saved.Mappings()...)
	}
	return loose.Mappings()
}
