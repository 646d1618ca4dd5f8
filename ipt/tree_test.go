package ipt

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// walker sends packets through chains as the kernel does.
type walker map[chainID][]line

func newWalker(t *testing.T, chains []chain) walker {
	t.Helper()
	w := walker{}
	for _, c := range chains {
		if len(c.id.name) > 27 || !c.id.own() {
			t.Fatalf("a chain is called %s", c.id)
		}
		if _, twice := w[c.id]; twice {
			t.Fatalf("two chains are called %s", c.id)
		}
		w[c.id] = c.rules
	}
	return w
}

// segment is a packet, and what of it only the table mangle asks for.
type segment struct {
	rules.Packet
	leaving bool // it is the answer to the packet, and leaves
}

func (r *rule) takes(s segment) bool {
	port := int(s.Destination.Port())
	source, destination := r.source, r.destination
	if s.leaving {
		source, destination = destination, source
	}
	return (!source.IsValid() || source.Contains(s.Source)) &&
		(!destination.IsValid() || destination.Contains(s.Destination.Addr())) &&
		(r.iface == "" && r.ports.Last == 0 || r.reply == s.leaving) &&
		(r.iface == "" || r.iface == s.Interface) && r.to != hereInVRF &&
		(r.protocol == 0 || r.protocol == s.Protocol) && (r.ports.Last == 0 || int(r.ports.First) <= port &&
		port <= int(r.ports.Last))
}

// walk returns the rule of the table nat that sends the packet on, or nil, and how many rules the packet met.
func (w walker) walk(t *testing.T, p rules.Packet) (by *line, met int) {
	t.Helper()
	if len(w[rootID]) == 0 {
		return nil, 0
	}
	by, met = w.in(t, rootID, segment{Packet: p})
	return by, met + 1 // the jump
}

// dropped reports whether the table mangle drops the packet where it is invalid, and how many rules it met.
func (w walker) dropped(t *testing.T, s segment) (dropped bool, met int) {
	t.Helper()
	root := chainID{mangle, invalidChain}
	if s.leaving {
		root.name = targetChain
	}
	if _, there := w[root]; !there || s.Protocol != rules.TCP {
		return false, 1
	}
	by, met := w.in(t, root, s)
	return by != nil, met + 1
}

func (w walker) in(t *testing.T, id chainID, s segment) (by *line, met int) {
	t.Helper()
	list, there := w[id]
	if !there {
		t.Fatalf("no chain %s", id)
	}
	for i := range list {
		met++
		r := &list[i].rule
		if !r.takes(s) {
			continue
		}
		switch r.verdict {
		case note:
		case toPort, drop:
			return &list[i], met
		case jump, goTo:
			by, more := w.in(t, chainID{id.table, r.chain}, s)
			if met += more; by != nil || r.verdict == goTo {
				return by, met
			}
		}
	}
	return nil, met
}

func packet(r *rand.Rand, family rules.Families, ports int) rules.Packet {
	source, destination := netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), byte(r.IntN(256))}),
		netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(256))})
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
		text := fmt.Sprintf("%d-%d:%d-%d/%s", first, first+width-1, 20000+first, 20000+first+width-1,
			[...]string{"tcp", "udp", "tcp,udp"}[r.IntN(3)])
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
			text += fmt.Sprintf(" --source 10.0.%d.%d/30,10.0.%d.0/25,2001:db8:%d::/48", r.IntN(4), 128+4*r.IntN(32),
				r.IntN(4), r.IntN(4))
		case 2:
			text += " --interface " + [...]string{"eth0", "eth1"}[r.IntN(2)]
		}
		m, err := rules.Parse(text)
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
				case mapped && (by.rule.port != decision.To[0].Port() || !mappings[by.mapping].Equal(decision.Mapping)):
					t.Fatalf("seed %d: %+v: %d by %s, the oracle says %v", seed, p, by.rule.port, mappings[by.mapping],
						decision)
				}
			}
		}
	}
}

// What is dropped where connection tracking calls it invalid is TCP for a mapping, and the answers to that; nothing
// else.
func TestInvalidIsDroppedForMappingsOnly(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		ports := [...]int{40, 300, 40000}[seed%3]
		mappings := crowd(t, r, 10+r.IntN(400), ports).Mappings()
		for _, family := range families {
			chains := newWalker(t, encode(mappings, family))
			for range 400 {
				s := segment{Packet: packet(r, family, ports+10)}
				if r.IntN(2) == 0 {
					s.leaving = true
					s.Destination = netip.AddrPortFrom(s.Destination.Addr(), s.Destination.Port()+20000)
				}
				want := s.Protocol == rules.TCP && slices.ContainsFunc(mappings, s.belongsTo)
				if got, _ := chains.dropped(t, s); got != want {
					t.Fatalf("seed %d: %+v: dropped is %t", seed, s, got)
				}
			}
		}
	}
}

// belongsTo reports whether the segment could be one of the mapping's connections.
func (s segment) belongsTo(m rules.Mapping) bool {
	p := s.Packet
	if s.leaving {
		target, here := m.TargetPorts()
		if !here || !target.Contains(p.Destination.Port()) {
			return false
		}
		p.Destination = netip.AddrPortFrom(p.Destination.Addr(), p.Destination.Port()-target.First+
			m.ListenPorts().First)
	}
	return m.Claims(p)
}

// At 10,000 mappings no packet meets more than 64 rules: whether ports are dense, sparse, of both protocols, ranges,
// one port of many addresses, or one mapping of many sources.
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
		for i := range 8000 { // about as many as a mapping can have, rules.MaxText
			sources = append(sources, fmt.Sprintf("10.%d.%d.0/25", i/250, i%250))
		}
		checkMost(t, lab.Mappings(t, "1000-2000:3000-4000 --source "+strings.Join(sources, ",")))
	})
}

func checkMost(t *testing.T, mappings []rules.Mapping) {
	t.Helper()
	most, mostDropped, mapped := 0, 0, 0
	for _, family := range families {
		chains := newWalker(t, encode(mappings, family))
		for n := 0; n < 65536; n += 5 { // a chain at the end of a tree has more ports than five
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
			_, arriving := chains.dropped(t, segment{Packet: p})
			_, leaving := chains.dropped(t, segment{Packet: p, leaving: true})
			mostDropped = max(mostDropped, arriving, leaving)
			if most = max(most, met); by != nil {
				mapped++
			}
		}
	}
	t.Logf("at most %d rules; %d for one that is invalid", most, mostDropped)
	if most > 64 || mostDropped > 64 || mapped == 0 {
		t.Errorf("a packet meets %d rules, %d if it is invalid; %d were mapped", most, mostDropped, mapped)
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
			list = append(list, c.id.String()+" "+r.rule.String()+"\n")
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
			all := map[chainID]string{}
			for _, c := range encode(mappings, family) {
				all[c.id] = fmt.Sprint(texts([]chain{c}))
			}
			held := 0
			for _, c := range encodeNear(mappings, near, family) {
				if got := fmt.Sprint(texts([]chain{c})); all[c.id] != got {
					t.Fatalf("seed %d: chain %s is\n%s\nand near its mappings\n%s", seed, c.id, all[c.id], got)
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
	nothing := newSaved()
	state := func(m []rules.Mapping) state { return wanted(encode(m, rules.IPv4), nothing) }
	all := state(mappings)
	for i := range 10 {
		less := slices.Delete(slices.Clone(mappings), 397*i, 397*i+1)
		for name, script := range map[string]script{"less": restoreScript(all, state(less)),
			"more": restoreScript(state(less), all)} {
			if lines := strings.Count(string(script.text()), "\n"); lines > 60 {
				t.Fatalf("one mapping %s: %d lines:\n%s", name, lines, script.text())
			}
		}
	}
}
