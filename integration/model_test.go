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
	"portmap/ipt"
	"portmap/rules"

	"pgregory.net/rapid"
)

// The whole command against a model: random sequences of changes, of edits, of faults, and of what others do to the
// host. After each step, files and kernel must hold what the model says.
//
//	go test ./integration -run TestModel -rapid.checks=1000 -rapid.steps=60    a longer run
//	go test ./integration -run TestModel -rapid.seed=N                         a run again
func TestModel(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		switch b.name { // both variants of iptables are the same code: each takes one sequence, another one
		case "nft":
			few(t, "2", "1")
		case string(ipt.NFTables):
			few(t, "1", "1")
		case string(ipt.Legacy):
			few(t, "1", "2")
		}
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
func few(t *testing.T, checks, seed string) {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.seed": seed, "rapid.nofailfile": "true"} {
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
	"91:9191/tcp,udp --owner 1234 --hide", "91:9191,9291/tcp --owner 1234", "92:10.0.0.5:9292/tcp,udp",
	"92:127.0.0.1:9293/tcp",
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
