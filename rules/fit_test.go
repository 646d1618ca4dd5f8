package rules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func randomMappings(t *rapid.T) (list []Mapping) {
	for range rapid.IntRange(0, 24).Draw(t, "mappings") {
		if m, ok := randomMapping(t); ok {
			list = append(list, m)
			if rapid.IntRange(0, 4).Draw(t, "twice") == 0 {
				list = append(list, m)
			}
		}
	}
	return list
}

// The way for many mappings finds what the comparison of all pairs finds.
func TestSiftAgreesWithPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := randomMappings(t)
		pairs, searched := fitting{ctx: context.Background(), mappings: list},
			fitting{ctx: context.Background(), mappings: list}
		if err := errors.Join(pairs.compare(0), searched.search()); err != nil {
			t.Fatal(err)
		}
		for at := range list {
			_, again := pairs.first[at]
			if pairs.stays(at) != searched.stays(at) || again && searched.stays(at) {
				t.Fatalf("%v, at %d: pairs say %v, else %v", list, at, pairs.out[at], searched.out[at])
			}
			var conflict *ConflictError
			if err := searched.out[at]; err != nil {
				if !errors.As(err, &conflict) || !conflict.Mapping.Equal(list[at]) ||
					clash(conflict.With, list[at]) != conflict.Over {
					t.Fatalf("%v, at %d: %v", list, at, err)
				}
				if with := slices.IndexFunc(list, conflict.With.Equal); with >= at || !searched.stays(with) {
					t.Fatalf("%v, at %d: %v, which is no earlier one that stays", list, at, err)
				}
			}
		}
		if len(list) > 1 && portsOverlap(list) != slices.ContainsFunc(list, func(m Mapping) bool {
			return sharesPort(list, m)
		}) {
			t.Fatalf("%v: whether ports overlap", list)
		}
	})
}

func sharesPort(list []Mapping, m Mapping) bool {
	shared := 0
	for _, other := range list {
		if other.ports.Overlaps(m.ports) && other.protocols&m.protocols != 0 {
			shared++
		}
	}
	return shared > 1
}

// What is left out is what one leaves out who compares all pairs; of each loop it is the first, and none is left.
func TestFitAgreesWithAskingAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := randomMappings(t)
		for i := range list {
			if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
				named,
					err := Parse(list[i].String() + " --name " + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t,
					"name"))
				if err != nil {
					t.Fatal(err)
				}
				list[i] = named
			}
		}
		set, misfits, err := Fit(context.Background(), list)
		if err != nil {
			t.Fatal(err)
		}
		gone := map[int]bool{}
		for _, m := range misfits {
			gone[m.At] = true
		}
		want := askAgain(list)
		for _, m := range misfits {
			var loop *LoopError
			if !errors.As(m.Err, &loop) {
				continue
			}
			if !isLoop(loop.Path) ||
				slices.ContainsFunc(loop.Path, func(of Mapping) bool {
					return place(list, of) < place(list, loop.Path[0])
				}) {
				t.Fatalf("%v: no loop, or not from its first mapping: %v", list, loop.Path)
			}
			want[m.At] = list[m.At].Equal(loop.Path[0])
		}
		if !maps.Equal(gone, want) {
			t.Fatalf("%v: left out are %v, want %v", list, misfits, want)
		}
		if again, err := NewSet(set.Mappings()...); err != nil || again.Len() != set.Len() {
			t.Fatalf("%v: %v stays, %v", list, set.Mappings(), err)
		}
		if _, err := NewSet(slices.Clone(list)...); (err != nil) != (len(misfits) > 0) {
			t.Fatalf("%v: NewSet says %v, misfits are %v", list, err, misfits)
		}
	})
}

func place(list []Mapping, m Mapping) int { return slices.IndexFunc(list, m.Equal) }

// isLoop reports whether a port of the first mapping leads through the others, one behind the other, back to itself.
func isLoop(path []Mapping) bool {
	for first := int(path[0].ports.First); first <= int(path[0].ports.Last); first++ {
		port, ok := uint16(first), true
		for i := 0; ok && i+1 < len(path); i++ {
			port, ok = path[i].TargetOf(port)
			ok = ok && sharesClients(&path[i], &path[i+1]) && path[i+1].ports.Contains(port)
		}
		if ok && int(port) == first && path[0].Equal(path[len(path)-1]) {
			return true
		}
	}
	return false
}

// askAgain is the definition for names and packets: names first, and of two the later.
func askAgain(list []Mapping) map[int]bool {
	gone := map[int]bool{}
	for _, clashing := range []func(a, b *Mapping) bool{
		func(a, b *Mapping) bool { return a.name != "" && a.name == b.name && a.text != b.text },
		func(a, b *Mapping) bool { return overlap(a, b) && a.text != b.text },
	} {
		for at := range list {
			for old := range at {
				if !gone[old] && !gone[at] && clashing(&list[old], &list[at]) {
					gone[at] = true
				}
			}
		}
	}
	return gone
}

// large returns what costs most, n mappings of each.
func large(t testing.TB, n int) map[string][]Mapping {
	t.Helper()
	kinds := map[string]func(i int) string{
		"plain":              func(i int) string { return fmt.Sprintf("%d:%d", 1+i%32768, 32769+i/32768) },
		"all the same":       func(int) string { return "443:8443" },
		"in the first's way": func(i int) string { return fmt.Sprintf("443:%d", 1000+i%60000) },
		"behind the widest": func(i int) string {
			return fmt.Sprintf("%d-%d:%d-%d", 1+i%9, 60000-i%9, 5001+i%9, 65000-i%9)
		},
		"one name":   func(i int) string { return fmt.Sprintf("%d:%d --name x", 1+i%30000, 30001+i%35000) },
		"interfaces": func(i int) string { return fmt.Sprintf("443:8443 --interface e%d", i) },
		"addresses":  func(i int) string { return fmt.Sprintf("10.%d.%d.%d:443:8443", i>>16, i>>8&255, i&255) },
		"sources": func(i int) string {
			return fmt.Sprintf("443:8443 --source 10.%d.%d.%d", i>>16, i>>8&255, i&255)
		},
		"sources, then all": func(i int) string {
			return fmt.Sprintf("443:8443/%s --source 10.%d.%d.0/%d", []string{"tcp", "udp"}[i%2], i>>7&255, i<<1&255,
				24-i%2*8)
		},
		"addresses, interfaces": func(i int) string {
			return []string{fmt.Sprintf("443:8443 --interface e%d", i),
				fmt.Sprintf("10.%d.%d.%d:443:8443", i>>16, i>>8&255, i&255)}[i%2]
		},
		"wide, by interface": func(i int) string { return fmt.Sprintf("1-65534:2-65535 --interface e%d", i) },
		"wide, by source": func(i int) string {
			return fmt.Sprintf("1-65000:501-65500 --source 10.%d.%d.%d", i>>16, i>>8&255, i&255)
		},
		"stairs": func(i int) string {
			return fmt.Sprintf("%d-%d:%d-%d", 1+i%30000, 30001+i%30000, 2+i%30000, 30002+i%30000)
		},
		"a chain":             func(i int) string { return fmt.Sprintf("%d:%d", 1+i%65000, 2+i%65000) },
		"pairs":               func(i int) string { return fmt.Sprintf("%d:%d", 1+i%65000, 1+(i^1)%65000) },
		"pairs, by interface": func(i int) string { return fmt.Sprintf("%d:%d --interface e%d", 1+i%2, 2-i%2, i/2) },
		"two ports, apart":    func(i int) string { return fmt.Sprintf("%d:%d --interface e%d", 1+i%2, 2-i%2, i) },
		"one long loop":       func(i int) string { return fmt.Sprintf("%d:%d", 1+i%65000, 1+(i+1)%min(n, 65000)) },
		"loops in a chain": func(i int) string {
			return fmt.Sprintf("%d:%d --interface e%d", 1+i/2, 1+(i/2+1)%(n/2)*(1-i%2), i%2)
		},
	}
	lists := map[string][]Mapping{}
	for name, line := range kinds {
		var list []Mapping
		for i := range n {
			if m, err := Parse(line(i)); err == nil {
				list = append(list, m)
			}
		}
		lists[name] = list
	}
	return lists
}

// Four times as many mappings are no more than some five times the work, whatever is wrong with them.
func TestWorkGrowsWithTheList(t *testing.T) {
	const n = 1500
	one, four := large(t, n), large(t, 4*n)
	for name := range one {
		var steps [2]int
		for i, list := range [][]Mapping{one[name], four[name]} {
			f := fitting{ctx: context.Background(), mappings: list, all: true}
			if _, err := f.run(0); err != nil {
				t.Fatal(err)
			}
			steps[i] = f.steps
		}
		t.Logf("%s: %d mappings, %d steps; %d, %d", name, len(one[name]), steps[0], len(four[name]), steps[1])
		if steps[1] > 6*steps[0]+6*n {
			t.Errorf("%s: %d steps for %d mappings, %d for %d", name, steps[0], len(one[name]), steps[1],
				len(four[name]))
		}
	}
}

// A context that is done ends the work.
func TestFitListensToTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, list := range large(t, 3000) {
		if _, _, err := Fit(ctx, list); name != "plain" && name != "one name" && name != "a chain" &&
			!errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkFit100000(b *testing.B) {
	for name, list := range large(b, 100000) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := Fit(context.Background(), list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
