//go:build amd64

package integration

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"portmap/internal/fault"
	"portmap/internal/lab"
	"portmap/ipt"
)

// faultyCommand is a change that is made again and again, each time with a fault at another system call.
type faultyCommand struct {
	name   string
	before []string // the lines of the file, which are live
	edited []string // the file is edited to these, and not applied
	args   []string // input stands for a file with the lines of after
	after  []string // the lines of the file afterwards
	live   []string // what is live afterwards; nil for the lines of the file
}

const (
	shop = "443:8443/tcp,udp --name shop --source 10.0.0.0/8,2001:db8:1::/48"
	site = "80:8080/tcp"
	more = "8000-8010:9000-9010/tcp"

	guarded = "444:8444/tcp,udp --owner 1234 --hide"
	targets = "445:10.0.0.5:8445,10.0.0.6:8445/tcp --forward"

	input = "INPUT"
)

func faultyCommands() []faultyCommand {
	both := []string{site, shop}
	return []faultyCommand{
		{name: "add", before: both, args: []string{"add", more}, after: []string{site, shop, more}},
		{name: "add the first", args: append([]string{"add"}, strings.Fields(shop)...), after: []string{shop}},
		{name: "add temporary", before: both, args: []string{"add", "--temporary", more}, after: both,
			live: []string{site, shop, more + " --temporary"}},
		{name: "add replace", before: both, args: []string{"add", "--replace", "443:9443"},
			after: []string{site, "443:9443/tcp"}},
		{name: "add guarded", before: both, args: append([]string{"add"}, strings.Fields(guarded)...),
			after: []string{site, shop, guarded}},
		{name: "replace targets", before: []string{site, targets},
			args: []string{"add", "--replace", "445:127.0.0.1:8445"}, after: []string{site, "445:127.0.0.1:8445/tcp"}},
		{name: "remove", before: both, args: []string{"remove", "shop"}, after: []string{site}},
		{name: "remove the last", before: []string{shop}, args: []string{"remove", "443"}, live: []string{}},
		{name: "apply an edit", before: both, edited: []string{shop, "80:9090/tcp", more}, args: []string{"apply"},
			after: []string{shop, "80:9090/tcp", more}},
		{name: "apply a file", before: both, args: []string{"apply", "-f", input},
			after: []string{shop, "80:9090/tcp", more}},
		{name: "flush", before: both, args: []string{"flush"}, after: both, live: []string{}},
	}
}

// A fault at any system call of a change, of portmap or of a program that it runs: what was reported is there, what was
// not is not, and the rules of others are what they were. An ordinary run takes one sample, each time the same;
// FAULTS=1234 another one, FAULTS=EIO@57,KILL@3 those, and FAULTS=all tries all calls, which takes hours.
func TestFaultAtAnyCall(t *testing.T) {
	text := os.Getenv("FAULTS")
	choose, err := chooseFaults(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			host := lab.New(t).Host("host")
			b.prefer(host)
			host.SeedForeign()
			p := b.command(t, host)
			for i, c := range faultyCommands() {
				// Both variants of iptables are the same code: an ordinary run tries each command with one of them.
				if text == "" && b.name != "nft" && (i%2 == 0) != (b.name == string(ipt.Legacy)) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					m := newFaultModel(t, b, c, p)
					counts := m.count()
					faults := choose(b, counts)
					for _, f := range faults {
						m.try(f)
					}
					t.Logf("%d faults; there are %v", len(faults), counts)
				})
			}
		})
	}
}

// A kill or an error where a switch is set, and where its old value is remembered, in a change that switches one off
// and another on: the switches are on if and only if the mappings are live that need them, after the next apply at the
// latest; and route_localnet is never on without the drop. FAULTS=all tries each of these calls.
func TestFaultAtASwitch(t *testing.T) {
	const set, remember = "write /proc/sys/net", ".switches"
	after := "445:127.0.0.1:8445/tcp"
	c := faultyCommand{before: []string{site, targets}, args: []string{"add", "--replace", after},
		after: []string{site, after}}
	eachBackend(t, func(t *testing.T, b backend) {
		host := lab.New(t).Host("host")
		b.prefer(host)
		m := newFaultModel(t, b, c, b.command(t, host))
		m.count()
		faults := []fault.Fault{{Kind: fault.Kill, N: 1, At: set}, {Kind: fault.Kill, N: 2, At: set}}
		if b.name == "nft" {
			faults = append(faults, fault.Fault{Kind: fault.EIO, N: 2, At: set},
				fault.Fault{Kind: fault.EIO, N: 6, At: remember}) // before one is switched off
		}
		for _, f := range faults {
			if os.Getenv("FAULTS") != "all" {
				if r := m.try(f); r.Hit == "" {
					t.Errorf("%s hits no call", f)
				}
				continue
			}
			for f.N = 1; m.try(f).Hit != ""; f.N++ {
				continue
			}
		}
		m.portmap.run("remove", "--all") // else the next host finds what is remembered
	})
}

// faultChoice says which faults are tried, of a command that has so many calls for each kind.
type faultChoice func(b backend, counts map[fault.Kind]int) []fault.Fault

func chooseFaults(text string) (faultChoice, error) {
	switch {
	case text == "all":
		return allFaults, nil
	case strings.Contains(text, "@"):
		var list []fault.Fault
		for _, word := range strings.Split(text, ",") {
			f, err := fault.Parse(word)
			if err != nil {
				return nil, err
			}
			list = append(list, f)
		}
		return func(backend, map[fault.Kind]int) []fault.Fault { return list }, nil
	}
	seed, err := strconv.ParseUint(cmp.Or(text, "1"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("FAULTS: %w", err)
	}
	fmt.Printf("FAULTS=%d repeats this sample\n", seed)
	return func(b backend, counts map[fault.Kind]int) []fault.Fault {
		size := 2
		if b.name == "nft" { // where a run takes a third of the time
			size = 4
		}
		return sampleFaults(rand.New(rand.NewPCG(seed, 0)), size, counts)
	}, nil
}

func allFaults(_ backend, counts map[fault.Kind]int) (list []fault.Fault) {
	for _, kind := range fault.Kinds() {
		for n := range counts[kind] {
			list = append(list, fault.Fault{Kind: kind, N: n + 1})
		}
	}
	return list
}

// sampleFaults takes some of all faults: of each kind as many.
func sampleFaults(r *rand.Rand, size int, counts map[fault.Kind]int) (list []fault.Fault) {
	var kinds []fault.Kind
	for _, kind := range fault.Kinds() {
		if counts[kind] > 0 {
			kinds = append(kinds, kind)
		}
	}
	first := r.IntN(len(kinds))
	for i := range size {
		kind := kinds[(first+i)%len(kinds)]
		list = append(list, fault.Fault{Kind: kind, N: 1 + r.IntN(counts[kind])})
	}
	return list
}
