package ipt

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// walker sends packets through chains as the kernel does.
type walker map[string][]parsed

// parsed is a rule, read from its text.
type parsed struct {
	rule
	source, destination netip.Prefix
	iface, protocol     string
	first, last         int
	to                  uint16
	jump, leave         string // to a chain, with and without return
}

func newWalker(t *testing.T, chains []chain) walker {
	t.Helper()
	w := walker{}
	for _, c := range chains {
		if len(c.name) > 27 || !ownName(c.name) {
			t.Fatalf("a chain is called %s", c.name)
		}
		if _, twice := w[c.name]; twice {
			t.Fatalf("two chains are called %s", c.name)
		}
		w[c.name] = []parsed{}
		for _, r := range c.rules {
			w[c.name] = append(w[c.name], read(t, r))
		}
	}
	return w
}

func read(t *testing.T, r rule) parsed {
	t.Helper()
	p := parsed{rule: r, last: 65535}
	words := split(r.text)
	for i := 0; i < len(words); i += 2 {
		value := words[i+1]
		switch words[i] {
		case "-s":
			p.source = netip.MustParsePrefix(value)
		case "-d":
			p.destination = netip.MustParsePrefix(value)
		case "-i":
			p.iface = value
		case "-p":
			p.protocol = value
		case "--dport":
			first, last, isRange := strings.Cut(value, ":")
			p.first, _ = strconv.Atoi(first)
			if p.last = p.first; isRange {
				p.last, _ = strconv.Atoi(last)
			}
		case "-m", "--comment":
		case "--to-destination":
			n, _ := strconv.Atoi(value[1:])
			p.to = uint16(n)
		case "-j":
			if value != "DNAT" {
				p.jump = value
			}
		case "-g":
			p.leave = value
		default:
			t.Fatalf("%q: unknown %s", r.text, words[i])
		}
	}
	return p
}

func (r *parsed) takes(p rules.Packet) bool {
	port := int(p.Destination.Port())
	return (!r.source.IsValid() || r.source.Contains(p.Source)) &&
		(!r.destination.IsValid() || r.destination.Contains(p.Destination.Addr())) &&
		(r.iface == "" || r.iface == p.Interface) &&
		(r.protocol == "" || r.protocol == p.Protocol.String()) && r.first <= port && port <= r.last
}

// walk returns the rule that sends the packet on, or nil, and how many rules the packet met.
func (w walker) walk(t *testing.T, p rules.Packet) (by *parsed, met int) {
	t.Helper()
	if len(w[rootChain]) == 0 {
		return nil, 0
	}
	by, met = w.in(t, rootChain, p)
	return by, met + 1 // the jump
}

func (w walker) in(t *testing.T, name string, p rules.Packet) (by *parsed, met int) {
	list, there := w[name]
	if !there {
		t.Fatalf("no chain %s", name)
	}
	for i := range list {
		met++
		r := &list[i]
		switch {
		case !r.takes(p):
		case r.to != 0:
			return r, met
		case r.leave != "":
			by, more := w.in(t, r.leave, p)
			return by, met + more
		case r.jump != "":
			by, more := w.in(t, r.jump, p)
			if met += more; by != nil {
				return by, met
			}
		}
	}
	return nil, met
}

func packet(r *rand.Rand, family rules.Families, ports int) rules.Packet {
	source, destination := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(256))}), netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(256))})
	if family == rules.IPv6 {
		source = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(4), r.IntN(256)))
		destination = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", r.IntN(256)))
	}
	return rules.Packet{
		Protocol: [...]rules.Protocols{rules.TCP, rules.UDP}[r.IntN(2)], Source: source,
		Destination:      netip.AddrPortFrom(destination, uint16(1+r.IntN(ports))),
		DestinationLocal: true, Interface: [...]string{"", "eth0", "eth1"}[r.IntN(3)],
	}
}

// crowd makes a Set in which mappings of every kind are close together.
func crowd(t *testing.T, r *rand.Rand, count, ports int) rules.Set {
	t.Helper()
	var set rules.Set
	for range count {
		width := [...]int{1, 1, 1, 1, 2, 30}[r.IntN(6)]
		first := 1 + r.IntN(ports-width)
		text := fmt.Sprintf("%d-%d:%d-%d/%s", first, first+width-1, 20000+first, 20000+first+width-1, [...]string{"tcp", "udp", "tcp,udp"}[r.IntN(3)])
		switch r.IntN(6) {
		case 0:
			text = fmt.Sprintf("192.0.2.%d:%s", r.IntN(256), text)
		case 1:
			text = fmt.Sprintf("[2001:db8::%x]:%s", r.IntN(256), text)
		case 2:
			text += [...]string{" -4", " -6"}[r.IntN(2)]
		}
		switch r.IntN(6) {
		case 0:
			text += fmt.Sprintf(" --source 10.0.%d.0/24", r.IntN(4))
		case 1:
			text += fmt.Sprintf(" --source 10.0.%d.%d/30,10.0.%d.0/25,2001:db8:%d::/48", r.IntN(4), 128+4*r.IntN(32), r.IntN(4), r.IntN(4))
		case 2:
			text += " --interface " + [...]string{"eth0", "eth1"}[r.IntN(2)]
		}
		m, err := rules.Parse(rules.Words(text)...)
		if err != nil {
			continue
		}
		if next, err := set.Add(m); err == nil {
			set = next
		}
	}
	return set
}

// The chains do what the oracle says, whatever the tree they have become.
func TestChainsDoWhatTheOracleSays(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		ports := [...]int{40, 300, 40000}[seed%3]
		set := crowd(t, r, 10+r.IntN(400), ports)
		mappings := set.Mappings()
		for _, family := range families {
			chains := newWalker(t, encode(mappings, family))
			for range 400 {
				p := packet(r, family, ports+10)
				decision, mapped := set.Route(p)
				by, _ := chains.walk(t, p)
				switch {
				case mapped != (by != nil):
					t.Fatalf("seed %d: %+v: mapped is %t, by %+v", seed, p, mapped, by)
				case mapped && (by.to != decision.To[0].Port() || !mappings[by.mapping].Equal(decision.Mapping)):
					t.Fatalf("seed %d: %+v: %d by %s, the oracle says %v", seed, p, by.to, mappings[by.mapping], decision)
				}
			}
		}
	}
}

// At 10,000 mappings no packet meets more than 64 rules: whether ports are dense, sparse, of both protocols, ranges, one port
// of many addresses, or one mapping of many sources.
func TestNoPacketMeetsManyRules(t *testing.T) {
	lines := map[string]func(i int) string{
		"dense":          func(i int) string { return fmt.Sprintf("%d:%d", 1+i, 20001+i) },
		"sparse":         func(i int) string { return fmt.Sprintf("%d:%d/tcp,udp", 6*i+3, 6*i+5) },
		"addresses":      func(i int) string { return fmt.Sprintf("10.%d.%d.7:443:8443", i/250, i%250) },
		"IPv6 addresses": func(i int) string { return fmt.Sprintf("[2001:db8:%x::%x]:443:8443", i%97, i) },
		"near the end":   func(i int) string { return fmt.Sprintf("%d:%d", 65535-i, 1+i) },
	}
	for name, line := range lines {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for i := range 10000 {
				texts = append(texts, line(i))
			}
			mappings := lab.Mappings(t, texts...)
			checkMost(t, mappings)
		})
	}
	t.Run("sources", func(t *testing.T) {
		var sources []string
		for i := range 10000 {
			sources = append(sources, fmt.Sprintf("10.%d.%d.0/25", i/250, i%250))
		}
		checkMost(t, lab.Mappings(t, "1000-2000:3000-4000 --source "+strings.Join(sources, ",")))
	})
}

func checkMost(t *testing.T, mappings []rules.Mapping) {
	t.Helper()
	most, mapped := 0, 0
	for _, family := range families {
		chains := newWalker(t, encode(mappings, family))
		for n := range 65536 {
			m := &mappings[n%len(mappings)]
			p := rules.Packet{Protocol: rules.TCP, Source: netip.MustParseAddr("10.1.2.3")}
			listen := netip.MustParseAddr("192.0.2.1")
			if family == rules.IPv6 {
				p.Source, listen = netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8::1")
			}
			port := uint16(n)
			if rules.FamilyOf(m.Listen()) == family {
				listen, port = m.Listen(), m.ListenPorts().First
			}
			p.Destination = netip.AddrPortFrom(listen, port)
			by, met := chains.walk(t, p)
			if most = max(most, met); by != nil {
				mapped++
			}
		}
	}
	t.Logf("at most %d rules", most)
	if most > 64 || mapped == 0 {
		t.Errorf("a packet meets %d rules; %d were mapped", most, mapped)
	}
}

// The same Set comes to the same chains, in whatever order its mappings are.
func TestChainsDependOnTheSetAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	mappings := crowd(t, r, 500, 400).Mappings()
	for _, family := range families {
		want := fmt.Sprint(texts(encode(mappings, family)))
		for range 5 {
			r.Shuffle(len(mappings), func(i, j int) { mappings[i], mappings[j] = mappings[j], mappings[i] })
			if got := fmt.Sprint(texts(encode(mappings, family))); got != want {
				t.Fatalf("one order gives\n%s\nand another\n%s", want, got)
			}
		}
	}
}

func texts(chains []chain) (list []string) {
	for _, c := range chains {
		for _, r := range c.rules {
			list = append(list, c.name+" "+r.text+"\n")
		}
	}
	return list
}

// What is near some mappings is the part of all chains that holds them, or leads to them, to the letter.
func TestEncodeNear(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		mappings := crowd(t, r, 300, 400).Mappings()
		near := mappings[:1+r.IntN(3)]
		for _, family := range families {
			all := map[string]string{}
			for _, c := range encode(mappings, family) {
				all[c.name] = fmt.Sprint(texts([]chain{c}))
			}
			held := 0
			for _, c := range encodeNear(mappings, near, family) {
				if got := fmt.Sprint(texts([]chain{c})); all[c.name] != got {
					t.Fatalf("seed %d: chain %s is\n%s\nand near its mappings\n%s", seed, c.name, all[c.name], got)
				}
				for _, r := range c.rules {
					if r.mapping == 0 {
						held++
					}
				}
			}
			if near[0].Families().Has(family) && held == 0 {
				t.Errorf("seed %d: %s is in no chain near it", seed, near[0])
			}
		}
	}
}

// A mapping more or less, among thousands, rewrites a few lines.
func TestChangeTouchesFewChains(t *testing.T) {
	var lines []string
	for i := range 5000 {
		lines = append(lines, fmt.Sprintf("%d:%d", 2*i+1, 20001+i))
	}
	mappings := lab.Mappings(t, lines...)
	nothing, _ := parse(nil)
	state := func(m []rules.Mapping) state { return stateWith(encode(m, rules.IPv4), nothing) }
	all := state(mappings)
	for i := range 40 {
		less := slices.Delete(slices.Clone(mappings), 97*i, 97*i+1)
		for name, script := range map[string][]byte{"less": between(all, state(less)), "more": between(state(less), all)} {
			if lines := strings.Count(string(script), "\n"); lines > 60 {
				t.Fatalf("one mapping %s: %d lines:\n%s", name, lines, script)
			}
		}
	}
}
