package integration

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// randomRemote writes a mapping to one or both servers of a [network]; not every one is valid.
func randomRemote(r *rand.Rand) string {
	width := pick(r, 1, 1, 2)
	from, to := 1000+r.IntN(3), 2000+r.IntN(3)
	targets := ""
	for i, address := range pick(r, []string{"10.0.0.5"}, []string{"10.0.0.6"}, []string{"[2001:db8:5::6]"},
		[]string{"10.0.0.5", "10.0.0.6"}, []string{"10.0.0.6", "[2001:db8:5::5]"},
		[]string{"10.0.0.5", "10.0.0.6", "[2001:db8:5::5]", "[2001:db8:5::6]"}) {
		if i > 0 {
			targets += ","
		}
		targets += fmt.Sprintf("%s:%d-%d", address, to, to+width-1)
	}
	text := fmt.Sprintf("%s%d-%d:%s/%s", pick(r, "", "", "", "192.0.2.1:", "10.0.0.1:", "[2001:db8::1]:"), from,
		from+width-1, targets, pick(r, "tcp", "udp", "tcp,udp"))
	return text + pick(r, "", "", "", " --sticky") + pick(r, "", "", "", " --interface eth0", " --interface br0",
		" --source 192.0.2.0/24", " --source 10.0.0.7/32,10.0.0.5/32", " --source 2001:db8::/32")
}

// The kernel sends connections to servers on other hosts as the oracle says, from everywhere, and these see this host;
// what is not mapped is left alone.
func TestRemoteTargetsAreAsTheOracleSays(t *testing.T) {
	const sets, attempts = 40, 8
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		serve := func(h *lab.Host, first int, addresses ...string) {
			for _, address := range addresses {
				for port := range 4 {
					h.Echo("tcp", fmt.Sprintf("%s:%d", address, first+port))
					h.Echo("udp", fmt.Sprintf("%s:%d", address, first+port))
				}
			}
		}
		serve(w.host, 1000, "192.0.2.1", "[2001:db8::1]", "10.0.0.1", "[2001:db8:5::1]", "127.0.0.1", "[::1]")
		serve(w.one, 2000, "10.0.0.5", "[2001:db8:5::5]")
		serve(w.two, 2000, "10.0.0.6", "[2001:db8:5::6]")
		r := rand.New(rand.NewPCG(3, 0))
		mapped := 0
		var live rules.Set
		count := sets
		if b.name != "nft" { // where a change takes programs
			count /= 3
		}
		for range count {
			var set rules.Set
			for range 25 {
				if m, err := rules.Parse(randomRemote(r)); err == nil {
					if next, err := set.Add(m); err == nil {
						set = next
					}
				}
			}
			b.change(t, w.host, live.Diff(set))
			live = set
			if found := b.live(t, w.host); found.Damaged != "" || len(found.Mappings) != set.Len() {
				t.Fatalf("wrote %v, read %v, %s", set.Mappings(), texts(found), found.Damaged)
			}
			for range attempts {
				mapped += w.attempt(t, r, set)
			}
			if t.Failed() {
				return
			}
		}
		if mapped < count*attempts/4 {
			t.Errorf("only %d attempts met a mapping: the test tests nothing", mapped)
		}
	})
}

// attempt asks the host from somewhere, and compares the answer with what the oracle says. It returns how many mappings
// were met.
func (w network) attempt(t *testing.T, r *rand.Rand, set rules.Set) (mapped int) {
	t.Helper()
	network, protocol := "tcp", rules.TCP
	if r.IntN(2) == 0 {
		network, protocol = "udp", rules.UDP
	}
	ends := pick(r,
		[]string{"192.0.2.2", "192.0.2.1", "eth0"}, []string{"2001:db8::2", "2001:db8::1", "eth0"},
		[]string{"192.0.2.2", "10.0.0.1", "eth0"}, []string{"2001:db8::2", "2001:db8:5::1", "eth0"},
		[]string{"10.0.0.7", "10.0.0.1", "br0"}, []string{"2001:db8:5::7", "2001:db8:5::1", "br0"},
		[]string{"10.0.0.5", "192.0.2.1", "br0"}, []string{"2001:db8:5::5", "2001:db8::1", "br0"},
		[]string{"192.0.2.1", "192.0.2.1", ""}, []string{"2001:db8::1", "2001:db8::1", ""},
		[]string{"127.0.0.1", "127.0.0.1", ""}, []string{"::1", "::1", ""})
	from := map[string]*lab.Host{"192.0.2.2": w.client, "2001:db8::2": w.client, "10.0.0.7": w.neighbour,
		"2001:db8:5::7": w.neighbour, "10.0.0.5": w.one, "2001:db8:5::5": w.one}[ends[0]]
	if from == nil {
		from = w.host
	}
	to := netip.AddrPortFrom(netip.MustParseAddr(ends[1]), uint16(1000+r.IntN(4)))
	want, sees := []netip.AddrPort{to}, ends[0]
	decision, is := set.Route(rules.Packet{Protocol: protocol, Source: netip.MustParseAddr(ends[0]), Destination: to,
		DestinationLocal: true, Interface: ends[2]})
	if is {
		mapped, want, sees = 1, decision.To, "10.0.0.1"
		if to.Addr().Is6() {
			sees = "2001:db8:5::1"
		}
	}
	got, err := from.AskWithin(2*time.Second, network, ends[0], to.String())
	if err != nil || !slices.Contains(want, got.Server) || got.Client.Addr().String() != sees {
		t.Errorf("%s from %s (%s) to %s: got %+v, %v; the oracle says %v, seeing %s, by\n%v", network, ends[0],
			from.Name, to, got, err, want, sees, set.Mappings())
	}
	return mapped
}
