package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// lookFor finds some mappings of a host without reading the others.
func lookFor(t *testing.T, h *lab.Host, mappings ...rules.Mapping) (live rules.Live, tells bool) {
	t.Helper()
	backends()[0].with(t, h, func(k rules.Backend) (err error) {
		live, tells, err = k.(rules.Looker).LookFor(context.Background(), mappings)
		return err
	})
	return live, tells
}

// What is found of one mapping alone is what is found of it among all.
func TestLookForSaysWhatLiveSays(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	r := rand.New(rand.NewPCG(5, 0))
	var set rules.Set
	told := 0
	for range 15 {
		next := randomSet(r)
		b.change(t, host, set.Diff(next))
		set = next
		all := b.live(t, host)
		for _, m := range set.Mappings() {
			live, tells := lookFor(t, host, m)
			if !tells {
				continue
			}
			told++
			if texts(live) != m.String() || live.Damaged != all.Damaged {
				t.Fatalf("of %s it finds %q, %q, among\n%s", m, texts(live), live.Damaged, texts(all))
			}
		}
	}
	if told < 80 {
		t.Errorf("it told %d mappings: the test tests nothing", told)
	}
}

func TestLookFor(t *testing.T) {
	b := backends()[0]
	const damaged = "443:8443/tcp has 0 of its 1 elements in set tcp_ports"
	for _, c := range []struct {
		what      string
		live      []string
		then      string // a command of nft
		found     string
		damaged   string
		cannotSay bool
	}{
		{what: "nothing is live"},
		{what: "another port", live: []string{"444:8443"}},
		{what: "among others", live: []string{"443:8443", "444:8443", "80:8080 --source 10.0.0.0/8"},
			found: "443:8443/tcp"},
		{what: "another target", live: []string{"443:9443"}, cannotSay: true},
		{what: "another protocol", live: []string{"443:8443", "443:8443/udp"}, cannotSay: true},
		{what: "another address", live: []string{"192.0.2.1:443:8443"}, cannotSay: true},
		{what: "some clients", live: []string{"443:8443 --source 10.0.0.0/8"}, cannotSay: true},
		{what: "a range", live: []string{"440-445:8440-8445"}, cannotSay: true},
		{what: "the element is gone", live: []string{"443:8443", "444:8443"},
			then:    "delete element inet portmap ports { tcp . 443 }",
			damaged: "set tcp_ports has an element that no mapping explains"},
		{what: "the element of another one is gone", live: []string{"443:8443", "444:8444"},
			then: "delete element inet portmap ports { tcp . 444 }", found: "443:8443/tcp"},
		{what: "a key is gone", live: []string{"443:8443"},
			then:  "delete element inet portmap tcp_ports { tcp . 443 }",
			found: "443:8443/tcp", damaged: damaged},
		{what: "a chain is changed", live: []string{"443:8443"}, then: "flush chain inet portmap prerouting",
			found: "443:8443/tcp", damaged: `chain prerouting has lost the rule "connections of other hosts"`},
		{what: "a rule of somebody else", live: []string{"443:8443"}, then: "add rule inet portmap mapped counter",
			found: "443:8443/tcp", damaged: "a rule in chain mapped"},
	} {
		t.Run(c.what, func(t *testing.T) {
			host, _ := b.barePair(t)
			b.add(t, host, c.live...)
			if c.then != "" {
				host.Run("nft", strings.Fields(c.then)...)
			}
			live, tells := lookFor(t, host, lab.Mappings(t, "443:8443")...)
			if tells == c.cannotSay || texts(live) != c.found || !strings.Contains(live.Damaged, c.damaged) ||
				(c.damaged == "") != (live.Damaged == "") {
				t.Errorf("found %q, damaged %q, tells %v; want %q, %q, %v",
					texts(live), live.Damaged, tells, c.found, c.damaged, !c.cannotSay)
			}
		})
	}
}

// Among many mappings of single addresses one may have the same port: they are read.
func TestLookForAmongManyAddresses(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	lines := []string{"443:8443"}
	for i := range 1500 {
		lines = append(lines, fmt.Sprintf("10.1.%d.%d:1000:8443", i/250, i%250))
	}
	b.add(t, host, lines...)
	if live, tells := lookFor(t, host, lab.Mappings(t, "443:8443")...); tells {
		t.Errorf("it did not look at all, and found %q", texts(live))
	}
}

// So many ports are read quicker than looked up.
func TestLookForOfManyPorts(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	many := b.add(t, host, "10000-19999:20000-29999")
	if live, tells := lookFor(t, host, many...); tells {
		t.Errorf("it looked up 10,000 ports, and found %q", texts(live))
	}
}

// A command about some mappings says the same as one about all.
func TestSelectorsOfCheck(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:8080")
	p := b.command(t, host)
	p.run("add", "443:8443")
	p.run("add", "80:8080", "--name", "shop")
	p.run("add", "90:9090", "--temporary")
	b.add(t, host, "70:7070")
	for selector, want := range map[string]string{
		"443": "443:8443/tcp", "shop": "80:8080/tcp", "90": "90:9090/tcp", "70": "70:7070/tcp",
	} {
		r := p.try("check", selector, "--no-probe")
		lines := slices.DeleteFunc(strings.Split(r.Out, "\n"), func(l string) bool { return !strings.Contains(l, ":") })
		if len(lines) == 0 || !strings.HasPrefix(lines[0], want) {
			t.Errorf("check %s: %+v; want %s", selector, r, want)
		}
	}
	for _, twice := range [][]string{{"443", "443"}, {"shop", "80"}, {"90", "90:9090"}} {
		if r := p.try("check", twice[0], twice[1], "--no-probe"); strings.Contains(r.Out, "missing") {
			t.Errorf("two selectors of one mapping: %+v", r)
		}
	}
	p.write("81:8081 --name shop\n")
	if r := p.try("check", "shop", "--no-probe"); !strings.Contains(r.Out, "80:8080/tcp: live, and in no file") {
		t.Errorf("who has the name in the kernel: %+v", r)
	}
	if r := p.try("check", "443", "7"); r.Code == 0 || !strings.Contains(r.Err, "7: no such mapping") {
		t.Errorf("a selector that means nothing: %+v", r)
	}
}

// The commands that change a mapping are those for its own file.
func TestCheckOfAnotherFile(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	host.Echo("tcp", "127.0.0.1:8443")
	one, other := b.command(t, host), b.command(t, host)
	one.run("add", "443:8443")
	other.run("add", "80:8080")
	for file, cured := range map[string]bool{one.file: true, other.file: false} {
		one.file = file
		r := one.try("check", "443", "--no-probe")
		if !strings.Contains(r.Out, "listens at 127.0.0.1:8443") || strings.Contains(r.Out, "add --replace") != cured {
			t.Errorf("asked for %s: %+v", file, r)
		}
	}
}
