package ipt

import (
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
func restore(t *testing.T, s state, script []byte) state {
	t.Helper()
	chains, jumps := maps.Clone(s.chains), map[string][]line{}
	for _, door := range doors {
		for _, text := range s.jumps[door] {
			jumps[door] = append(jumps[door], line{text: text})
		}
	}
	if len(script) == 0 {
		return s
	}
	for _, text := range strings.Split(strings.TrimSuffix(string(script), "\n"), "\n") {
		var l line
		if rest, ok := strings.CutPrefix(text, "["); ok {
			_, _ = fmt.Sscanf(rest, "%d:%d]", &l.packets, &l.bytes)
			_, text, _ = strings.Cut(text, "] ")
		}
		command, rest, _ := strings.Cut(text, " ")
		name, rule, _ := strings.Cut(rest, " ")
		in := chains
		if slices.Contains(doors[:], name) {
			in = jumps
		}
		list, there := in[name]
		switch {
		case text == "*nat", text == "COMMIT":
			continue
		case text[0] == ':':
			chains[text[1:len(text)-len(" - [0:0]")]] = nil
			continue
		case !there && in[name] == nil && !slices.Contains(doors[:], name):
			t.Fatalf("%q: no such chain", text)
		}
		switch command {
		case "-X":
			if len(list) > 0 {
				t.Fatalf("%q: not empty", text)
			}
			delete(chains, name)
		case "-A":
			l.text = rule
			in[name] = append(slices.Clone(list), l)
		case "-I":
			number, rule, _ := strings.Cut(rule, " ")
			n, err := strconv.Atoi(number)
			if err != nil || n > len(list)+1 {
				t.Fatalf("%q: the chain has %d rules", text, len(list))
			}
			l.text = rule
			in[name] = slices.Insert(slices.Clone(list), n-1, l)
		case "-D":
			at := slices.IndexFunc(list, func(l line) bool { return l.text == rule })
			if at < 0 {
				t.Fatalf("%q: no such rule", text)
			}
			in[name] = slices.Delete(slices.Clone(list), at, at+1)
		default:
			t.Fatalf("%q: unknown", text)
		}
	}
	after := state{names: slices.Sorted(maps.Keys(chains)), chains: chains, jumps: map[string][]string{}}
	for door, list := range jumps {
		for _, l := range list {
			after.jumps[door] = append(after.jumps[door], l.text)
		}
	}
	return after
}

// show writes a state without what does not matter: the order of chains.
func (s state) show() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.chains)) {
		fmt.Fprintln(&b, name, s.chains[name])
	}
	for _, door := range doors {
		fmt.Fprintln(&b, door, s.jumps[door])
	}
	return b.String()
}

// savedFrom is a state as iptables-save would print it.
func savedFrom(t *testing.T, s state) *saved {
	t.Helper()
	read, err := parse(printed(s))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func printed(s state) []byte {
	var b strings.Builder
	for _, name := range s.names {
		fmt.Fprintf(&b, ":%s - [0:0]\n", name)
	}
	for _, door := range doors {
		for _, text := range s.jumps[door] {
			fmt.Fprintf(&b, "[0:0] -A %s %s\n", door, text)
		}
	}
	for _, name := range s.names {
		for _, l := range s.chains[name] {
			fmt.Fprintf(&b, "[%d:%d] -A %s %s\n", l.packets, l.bytes, name, l.text)
		}
	}
	return []byte(b.String())
}

// From any Set to any other and back: the script that is written leads there, and no count is lost on the way.
func TestScriptLeadsFromStateToState(t *testing.T) {
	nothing, _ := parse(nil)
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		a := crowd(t, r, 1+r.IntN(120), 60).Mappings()
		b := append(slices.Clone(a[:r.IntN(len(a)+1)]), crowd(t, r, r.IntN(30), 60).Mappings()...)
		for _, family := range families {
			from := stateWith(encode(a, family), nothing)
			for _, lines := range from.chains {
				for i := range lines {
					if strings.Contains(lines[i].text, "DNAT") {
						lines[i].packets, lines[i].bytes = 1+r.Uint64N(1000), 60
					}
				}
			}
			there := savedFrom(t, from)
			if got := there.state().show(); got != from.show() {
				t.Fatalf("seed %d: wrote\n%s\nread\n%s", seed, from.show(), got)
			}
			to := stateWith(encode(b, family), there)
			script := between(there.state(), to)
			after := restore(t, there.state(), script)
			if got, want := plain(after), plain(to); got != want {
				t.Fatalf("seed %d: the script\n%s\nleads to\n%s\nand should to\n%s", seed, script, got, want)
			}
			if lost := lostCounts(from, after); lost != "" {
				t.Fatalf("seed %d: %s lost its count by\n%s", seed, lost, script)
			}
			back := restore(t, after, between(savedFrom(t, after).state(), there.state()))
			if got, want := plain(back), plain(there.state()); got != want {
				t.Fatalf("seed %d: back is\n%s\nand was\n%s", seed, got, want)
			}
		}
	}
}

// plain is show without counters.
func plain(s state) string {
	c := state{chains: map[string][]line{}, jumps: s.jumps}
	for name, lines := range s.chains {
		for _, l := range lines {
			c.chains[name] = append(c.chains[name], line{text: l.text})
		}
		if len(lines) == 0 {
			c.chains[name] = nil
		}
	}
	return c.show()
}

// lostCounts names a rule that is in both states and has fewer packets in the second; rules that stand in several chains are
// left out.
func lostCounts(before, after state) string {
	count := func(s state) (packets map[string]uint64, times map[string]int) {
		packets, times = map[string]uint64{}, map[string]int{}
		for _, lines := range s.chains {
			for _, l := range lines {
				packets[l.text] += l.packets
				times[l.text]++
			}
		}
		return packets, times
	}
	was, wasTimes := count(before)
	is, isTimes := count(after)
	for text, packets := range was {
		if wasTimes[text] == 1 && isTimes[text] == 1 && is[text] < packets {
			return text
		}
	}
	return ""
}

// What others do to our chains is taken back by a script, too.
func TestScriptMendsDamage(t *testing.T) {
	nothing, _ := parse(nil)
	r := rand.New(rand.NewPCG(1, 9))
	want := stateWith(encode(crowd(t, r, 100, 60).Mappings(), rules.IPv4), nothing)
	for i := range 200 {
		broken := state{names: slices.Clone(want.names), chains: map[string][]line{}, jumps: maps.Clone(want.jumps)}
		for name, lines := range want.chains {
			lines = slices.Clone(lines)
			switch n := r.IntN(8); {
			case len(lines) > 0 && n == 0:
				lines = slices.Delete(lines, 0, 1)
			case n == 1:
				lines = append(lines, line{text: "-p tcp -m tcp --dport 99 -j RETURN"})
			case n == 2:
				slices.Reverse(lines)
			case n == 3:
				lines = nil
			case n == 4 && len(lines) > 0:
				lines = append(lines, lines[0])
			}
			broken.chains[name] = lines
		}
		switch i % 4 {
		case 0:
			broken.jumps["OUTPUT"] = nil
		case 1:
			broken.jumps["PREROUTING"] = []string{jump, jump}
		case 2:
			broken.jumps["OUTPUT"] = []string{"-j PORTMAP"}
		}
		there := savedFrom(t, broken)
		if len(there.foreign) > 0 {
			continue
		}
		if got := plain(restore(t, there.state(), between(there.state(), want))); got != plain(want) {
			t.Fatalf("mended is\n%s\nshould be\n%s", got, plain(want))
		}
	}
}
