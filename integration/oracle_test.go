package integration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// The ports of the random Sets: mappings lead from the first four to the others, or to each other, and every port of
// either kind has a server.
var (
	listenPorts = []int{1000, 1001, 1002, 1003}
	serverPorts = []int{1000, 1001, 1002, 1003, 2000, 2001, 2002, 2003}
	addresses4  = []string{"192.0.2.1", "192.0.2.11"}
	addresses6  = []string{"2001:db8::1", "2001:db8::11"}
)

// Two clients on two interfaces, each with two addresses in networks that mappings are limited to.
type stage struct {
	host, near, far *lab.Host
}

func newStage(t *testing.T) stage {
	n := lab.New(t)
	s := stage{n.Host("host"), n.Host("near"), n.Host("far")}
	n.Link(s.host, "192.0.2.1/24", "2001:db8::1/64", s.near, "192.0.2.2/24", "2001:db8::2/64")
	n.Link(s.host, "203.0.113.1/24", "2001:db8:3::1/64", s.far, "203.0.113.2/24", "2001:db8:3::2/64")
	s.host.Address("eth0", "192.0.2.11/24")
	s.host.Address("eth0", "2001:db8::11/64")
	s.near.Address("eth0", "192.0.2.3/24")
	s.near.Address("eth0", "2001:db8::3/64")
	s.host.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1") // which the command sets
	s.far.Route("192.0.2.0/24", "203.0.113.1")
	s.far.Run("ip", "-6", "route", "add", "2001:db8::/64", "via", "2001:db8:3::1")
	for _, network := range []string{"tcp", "udp"} {
		for _, port := range serverPorts {
			for _, address := range append(append([]string{"127.0.0.1", "::1"}, addresses4...), addresses6...) {
				at := netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port))
				s.host.EchoAs(userOf(port), network, at.String())
			}
		}
	}
	return s
}

// userOf is the user whose servers listen on a port: mostly the owner of the random mappings that have one, who is root
// where this process has no other users.
func userOf(port int) int {
	switch {
	case lab.UnprivilegedUID() == 0 || port == 2000:
		return 0
	case port == 2001 || port == 1001:
		return squatter
	}
	return owner
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomMapping writes a mapping as a person could; not every one is valid.
func randomMapping(r *rand.Rand) string {
	width := pick(r, 1, 1, 1, 2, 3)
	from := listenPorts[r.IntN(len(listenPorts)-width+1)]
	to := pick(r, 2000+r.IntN(4-width+1), listenPorts[r.IntN(len(listenPorts)-width+1)])
	targets := fmt.Sprintf("%d-%d", to, to+width-1)
	listen, families := "", pick(r, "", "", "", " -4", " -6")
	switch r.IntN(4) {
	case 0:
		listen = pick(r, append(addresses4, "127.0.0.1")...) + ":"
	case 1:
		listen = "[" + pick(r, append(addresses6, "::1")...) + "]:"
	}
	switch r.IntN(8) {
	case 0: // on loopback only
		if families = ""; listen == "" {
			targets = "127.0.0.1:" + targets
		}
	case 1, 2: // several
		targets += fmt.Sprintf(",%d-%d", 2000, 2000+width-1)
		families += pick(r, "", " --sticky")
	}
	text := fmt.Sprintf("%s%d-%d:%s/%s", listen, from, from+width-1, targets, pick(r, "tcp", "udp", "tcp,udp"))
	text += families + pick(r, "", "", " --owner 1000") + pick(r, "", "", " --hide")
	text += pick(r, "", "", "", " --source 192.0.2.2/31", " --source 2001:db8::2/128,192.0.2.3/32",
		" --source 203.0.113.0/24,2001:db8:3::/64", " --source 127.0.0.0/8,::1/128")
	return text + pick(r, "", "", "", " --interface eth0", " --interface eth1") + pick(r, "", "", " --temporary")
}

// randomSet has mappings that are asked for, and now and then so many others that iptables' chains become a tree.
func randomSet(r *rand.Rand) rules.Set {
	var set rules.Set
	var lines []string
	if r.IntN(3) == 0 {
		for range 10 + r.IntN(60) {
			from := pick(r, 900+r.IntN(100), 1004+r.IntN(150))
			lines = append(lines, fmt.Sprintf("%d:%d/%s", from, 5000+from, pick(r, "tcp", "udp", "tcp,udp")))
		}
		lines = append(lines, "990-1060:7000-7070 --source 198.51.100.0/25,198.51.100.192/26,2001:db8:7::/48")
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	}
	for range 2 + r.IntN(10) {
		lines = append([]string{randomMapping(r)}, lines...)
	}
	for _, line := range lines {
		m, err := rules.Parse(line)
		if err != nil {
			continue
		}
		if next, err := set.Add(m); err == nil {
			set = next
		}
	}
	return set
}

// attempt is a connection that is tried: from a host, by an address of it, to a port of the host.
type attempt struct {
	network string
	from    *lab.Host
	source  string
	iface   string
	to      netip.AddrPort
}

func (s stage) randomAttempt(r *rand.Rand) attempt {
	a := attempt{network: pick(r, "tcp", "udp"), from: pick(r, s.host, s.near, s.near, s.far)}
	v6 := r.IntN(2) == 0
	destination := pick(r, addresses4...)
	if v6 {
		destination = pick(r, addresses6...)
	}
	switch {
	case a.from == s.near && v6:
		a.iface, a.source = "eth0", pick(r, "2001:db8::2", "2001:db8::3")
	case a.from == s.near:
		a.iface, a.source = "eth0", pick(r, "192.0.2.2", "192.0.2.3")
	case a.from == s.far && v6:
		a.iface, a.source = "eth1", "2001:db8:3::2"
	case a.from == s.far:
		a.iface, a.source = "eth1", "203.0.113.2"
	case r.IntN(2) == 0 && v6:
		destination, a.source = "::1", "::1"
	case r.IntN(2) == 0 && !v6:
		destination, a.source = "127.0.0.1", "127.0.0.1"
	case v6:
		a.source = pick(r, addresses6...)
	default:
		a.source = pick(r, addresses4...)
	}
	port := pick(r, listenPorts...)
	if r.IntN(4) == 0 {
		port = pick(r, serverPorts...) // directly, mostly
	}
	a.to = netip.AddrPortFrom(netip.MustParseAddr(destination), uint16(port))
	return a
}

// outcome is where an attempt can end, and how it is refused there.
type outcome struct {
	server  netip.AddrPort
	refused rules.Refusal
}

// want asks the oracle how the attempt can end.
func (a attempt) want(set rules.Set) []outcome {
	protocol := rules.TCP
	if a.network == "udp" {
		protocol = rules.UDP
	}
	decision, mapped := set.Route(rules.Packet{
		Protocol: protocol, Source: netip.MustParseAddr(a.source), Destination: a.to, DestinationLocal: true,
		Interface: a.iface,
	})
	switch {
	case !mapped:
		return []outcome{{a.to, rules.NotRefused}}
	case decision.Refused != rules.NotRefused:
		return []outcome{{refused: decision.Refused}}
	}
	var list []outcome
	for _, to := range decision.To {
		list = append(list, outcome{to, decision.AnsweredBy(uint32(userOf(int(to.Port()))))})
	}
	return list
}

// met reports whether what the client got is one of what the oracle says.
func (a attempt) met(got lab.Answer, want []outcome) bool {
	return slices.ContainsFunc(want, func(o outcome) bool {
		switch o.refused {
		case rules.Silent:
			return got.TimedOut
		case rules.Reset, rules.Unreachable:
			return got.Refused
		case rules.NotRefused:
		}
		return got.Server == o.server && got.Client.Addr().String() == a.source
	})
}

const (
	oracleSets     = 110 // a third as many with each variant of iptables, where each change takes programs
	oracleAttempts = 12  // a Set

	// How long a client waits where the oracle says that it waits in vain, and how often a variant is tried so: it
	// costs time.
	oracleSilence  = 50 * time.Millisecond
	oracleSilences = 30
)

func TestKernelDoesWhatTheOracleSays(t *testing.T) {
	seed := uint64(1) // the same Sets each time: PORTMAP_SEED draws others
	if given := os.Getenv("PORTMAP_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	eachBackend(t, func(t *testing.T, b backend) {
		s := newStage(t)
		mapped, refusals := 0, map[rules.Refusal]int{}
		var live rules.Set
		sets, sequence := oracleSets, uint64(0)
		if b.name != "nft" {
			sets /= 3
		}
		if b.name == string(ipt.Legacy) { // whose code is that of the other variant: it takes other Sets
			sequence = 1
		}
		r := rand.New(rand.NewPCG(seed, sequence))
		for i := range sets {
			set := randomSet(r)
			change := live.Diff(set)
			if i%10 == 0 {
				change = rules.Change{Reset: true, Remove: live.Mappings(), Add: set.Mappings()}
			}
			b.change(t, s.host, change)
			live = set
			if found, err := b.live(t, s.host).Set(); err != nil || !change.Empty() &&
				(len(found.Diff(set).Add) > 0 || len(set.Diff(found).Add) > 0) {
				t.Fatalf("seed %d: wrote %v, read %v, %v", seed, set.Mappings(), found.Mappings(), err)
			}
			for range oracleAttempts {
				a := s.randomAttempt(r)
				want := a.want(set)
				if !slices.Contains(want, outcome{a.to, rules.NotRefused}) {
					mapped++
				}
				within := 2 * time.Second
				if slices.ContainsFunc(want, func(o outcome) bool { return o.refused == rules.Silent }) {
					within = oracleSilence
					if refusals[rules.Silent] == oracleSilences {
						continue
					}
				}
				refusals[want[0].refused]++
				got, err := a.from.AskWithin(within, a.network, a.source, a.to.String())
				if err != nil || !a.met(got, want) {
					t.Errorf("seed %d: %s from %s (%s) to %s: got %+v, %v; the oracle says %v by\n%v",
						seed, a.network, a.source, a.from.Name, a.to, got, err, want, set.Mappings())
				}
			}
			if t.Failed() {
				return
			}
		}
		if mapped < sets/2 {
			t.Errorf("seed %d: only %d attempts met a mapping: the test tests nothing", seed, mapped)
		}
		for _, refusal := range []rules.Refusal{rules.Reset, rules.Unreachable, rules.Silent} {
			if refusals[refusal] == 0 && (refusal != rules.Silent || lab.UnprivilegedUID() != 0) {
				t.Errorf("seed %d: only %d attempts were refused (%s): the test tests nothing", seed,
					refusals[refusal], refusal)
			}
		}
	})
}
