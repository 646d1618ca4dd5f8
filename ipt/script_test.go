package ipt

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"portmap/rules"
)

// restore does to a state what iptables-restore does, and fails where it would.
func restore(t *testing.T, s state, ops script) state {
	t.Helper()
	chains := maps.Clone(s.chains)
	for _, d := range hooks() {
		chains[d.chainID] = nil
		for _, r := range s.jumps[d.chainID] {
			chains[d.chainID] = append(chains[d.chainID], line{rule: r})
		}
	}
	var parser ruleParser
	var table table
	for _, text := range strings.Split(strings.TrimSuffix(string(ops.text()), "\n"), "\n") {
		var l line
		if rest, ok := strings.CutPrefix(text, "["); ok {
			_, _ = fmt.Sscanf(rest, "%d:%d]", &l.packets, &l.bytes)
			_, text, _ = strings.Cut(text, "] ")
		}
		command, rest, _ := strings.Cut(text, " ")
		name, rule, _ := strings.Cut(rest, " ")
		id := chainID{table, name}
		list, there := chains[id]
		switch {
		case text == "", text == "COMMIT":
			continue
		case text[0] == '*':
			table = tableNamed(text[1:])
			continue
		case text[0] == ':':
			chains[chainID{table, text[1 : len(text)-len(" - [0:0]")]}] = nil
			continue
		case !there:
			t.Fatalf("%q: no such chain", text)
		}
		switch command {
		case "-X":
			if len(list) > 0 {
				t.Fatalf("%q: not empty", text)
			}
			delete(chains, id)
		case "-A":
			l.rule = parser.parse(rule)
			chains[id] = append(slices.Clone(list), l)
		case "-I":
			number, rule, _ := strings.Cut(rule, " ")
			n, err := strconv.Atoi(number)
			if err != nil || n > len(list)+1 {
				t.Fatalf("%q: the chain has %d rules", text, len(list))
			}
			l.rule = parser.parse(rule)
			chains[id] = slices.Insert(slices.Clone(list), n-1, l)
		case "-D":
			wanted := parser.parse(rule)
			at := slices.IndexFunc(list, func(l line) bool { return l.rule == wanted })
			if at < 0 {
				t.Fatalf("%q: no such rule", text)
			}
			chains[id] = slices.Delete(slices.Clone(list), at, at+1)
		default:
			t.Fatalf("%q: unknown", text)
		}
	}
	after := newState()
	for _, d := range hooks() {
		for _, l := range chains[d.chainID] {
			after.jumps[d.chainID] = append(after.jumps[d.chainID], l.rule)
		}
		delete(chains, d.chainID)
	}
	after.names, after.chains = sortedIDs(chains), chains
	return after
}

func tableNamed(name string) table { return table(name) } // where table is a variable

func sortedIDs(chains map[chainID][]line) []chainID {
	return slices.SortedFunc(maps.Keys(chains), func(a, b chainID) int {
		return cmp.Or(strings.Compare(string(a.table), string(b.table)), strings.Compare(a.name, b.name))
	})
}

// show writes a state without what does not matter: the order of chains.
func (s state) show() string {
	var b strings.Builder
	for _, id := range sortedIDs(s.chains) {
		fmt.Fprintln(&b, id)
		for _, l := range s.chains[id] {
			fmt.Fprintln(&b, l.rule, l.packets, l.bytes)
		}
	}
	for _, d := range hooks() {
		fmt.Fprintln(&b, d.chainID, s.jumps[d.chainID])
	}
	return b.String()
}

// savedFrom is a state as iptables-save would print it.
func savedFrom(t *testing.T, s state) *saved {
	t.Helper()
	read, err := parse(newLabels(nil), printed(s))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func printed(s state) []byte {
	var b strings.Builder
	for _, table := range ownTables {
		fmt.Fprintf(&b, "*%s\n", table)
		for _, id := range s.names {
			if id.table == table {
				fmt.Fprintf(&b, ":%s - [0:0]\n", id.name)
			}
		}
		for _, d := range hooks() {
			for _, r := range s.jumps[d.chainID] {
				if d.table == table {
					fmt.Fprintf(&b, "[0:0] -A %s %s\n", d.name, r)
				}
			}
		}
		for _, id := range s.names {
			for _, l := range s.chains[id] {
				if id.table == table {
					fmt.Fprintf(&b, "[%d:%d] -A %s %s\n", l.packets, l.bytes, id.name, l.rule)
				}
			}
		}
		b.WriteString("COMMIT\n")
	}
	return []byte(b.String())
}

// From any Set to any other and back: the script that is written leads there, and no count is lost on the way.
func TestScriptLeadsFromStateToState(t *testing.T) {
	nothing := newSaved()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		a := crowd(t, r, 1+r.IntN(120), 60).Mappings()
		b := append(slices.Clone(a[:r.IntN(len(a)+1)]), crowd(t, r, r.IntN(30), 60).Mappings()...)
		for _, family := range families {
			from := wanted(encode(a, family), nothing)
			for _, lines := range from.chains {
				for i := range lines {
					if lines[i].rule.verdict == toPort {
						lines[i].packets, lines[i].bytes = 1+r.Uint64N(1000), 60
					}
				}
			}
			there := savedFrom(t, from)
			if got := there.show(); got != from.show() {
				t.Fatalf("seed %d: wrote\n%s\nread\n%s", seed, from.show(), got)
			}
			to := wanted(encode(b, family), there)
			script := restoreScript(there.state, to)
			after := restore(t, there.state, script)
			if got, want := plain(after), plain(to); got != want {
				t.Fatalf("seed %d: the script\n%s\nleads to\n%s\nand should to\n%s", seed, script.text(), got, want)
			}
			if lost := lostCounts(from, after); lost != "" {
				t.Fatalf("seed %d: %s lost its count by\n%s", seed, lost, script.text())
			}
			back := restore(t, after, restoreScript(savedFrom(t, after).state, there.state))
			if got, want := plain(back), plain(there.state); got != want {
				t.Fatalf("seed %d: back is\n%s\nand was\n%s", seed, got, want)
			}
		}
	}
}

// plain is show without counters.
func plain(s state) string {
	c := state{chains: map[chainID][]line{}, jumps: s.jumps}
	for id, lines := range s.chains {
		c.chains[id] = nil
		for _, l := range lines {
			c.chains[id] = append(c.chains[id], line{rule: l.rule})
		}
	}
	return c.show()
}

// lostCounts names a rule that is in both states and has fewer packets in the second; rules that stand in several
// chains are left out.
func lostCounts(before, after state) string {
	count := func(s state) (packets map[rule]uint64, times map[rule]int) {
		packets, times = map[rule]uint64{}, map[rule]int{}
		for _, lines := range s.chains {
			for _, l := range lines {
				packets[l.rule] += l.packets
				times[l.rule]++
			}
		}
		return packets, times
	}
	was, wasTimes := count(before)
	is, isTimes := count(after)
	for r, packets := range was {
		if wasTimes[r] == 1 && isTimes[r] == 1 && is[r] < packets {
			return r.String()
		}
	}
	return ""
}

// What others do to our rules is taken back by a script, too; to the jumps, and the order of rules.
func TestScriptMendsDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	want := wanted(encode(crowd(t, r, 100, 60).Mappings(), rules.IPv4), newSaved())
	for i := range 200 {
		broken := state{names: slices.Clone(want.names), chains: map[chainID][]line{}, jumps: maps.Clone(want.jumps)}
		for id, lines := range want.chains {
			lines = slices.Clone(lines)
			switch n := r.IntN(8); {
			case len(lines) > 0 && n == 0:
				lines = slices.Delete(lines, 0, 1)
			case n == 1 && id.table == nat:
				lines = append(lines,
					line{rule: rule{protocol: tcp, ports: rules.Ports{First: 99, Last: 99}, comment: "99:98/tcp",
						verdict: toPort, port: 98}})
			case n == 2:
				slices.Reverse(lines)
			case n == 3:
				lines = nil
			case n == 4 && len(lines) > 0:
				lines = append(lines, lines[0])
			case n == 5 && len(lines) > 0:
				lines[0].rule.ports.First++
			}
			broken.chains[id] = lines
		}
		in := hooks()[r.IntN(len(hooks()))]
		switch i % 3 {
		case 0:
			broken.jumps[in.chainID] = nil
		case 1:
			broken.jumps[in.chainID] = append(slices.Clone(in.jumps), in.jumps...)
		}
		there := savedFrom(t, broken)
		if _, found := there.intruder(func(chainID) bool { return true }); found || len(there.foreign) > 0 {
			continue
		}
		if got := plain(restore(t, there.state, restoreScript(there.state, want))); got != plain(want) {
			t.Fatalf("mended is\n%s\nshould be\n%s", got, plain(want))
		}
	}
}
