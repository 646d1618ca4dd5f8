package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// A live mapping that no file has is in the way of one that claims the same packets, in whichever map or rule
// it is. It is named, and --replace takes its place.
func TestLiveMappingOfNoFileIsInTheWay(t *testing.T) {
	long := "443:5443 --source " + longSources
	eachBackend(t, func(t *testing.T, b backend) {
		cases := []struct{ live, add string }{
			{"192.0.2.1:443:9443", "443:8443"},
			{"[2001:db8::1]:443:9443", "443:8443 -6"},
			{"443:5443 --source 10.0.0.0/8", "443:8443"},
			{long, "443:8443"},
			{"443:6443 -4", "443:8443"},
			{"443:6443 -6", "443:8443/tcp,udp"},
			{"443:8443", "443:6443 -4"},
			{"443:8443", "192.0.2.1:443:9443"},
			{"443:8443", "443:5443 --interface eth0"},
			{"443:8443/tcp,udp", "443:8443"},
			{"192.0.2.1:443:9443", "443:5443 --source 192.0.2.0/24"},
			{"443:5443 --source 10.0.0.0/8", "443:5444 --source 10.1.0.0/16"},
			{"440-450:9440-9450", "192.0.2.1:445:8443"},
			{"445:8443 -4", "400-1000:9400-10000"},
			{"443:9443,9444 -6", "443:8443"},
			{"192.0.2.1:443:9443,9444", "443:8443,8444"},
		}
		if b.name == string(ipt.Legacy) { // whose code is that of the other variant
			cases = cases[:2]
		}
		for _, c := range cases {
			t.Run(c.live+", then "+c.add, func(t *testing.T) {
				host, _ := b.barePair(t)
				p := b.command(t, host)
				live := b.add(t, host, c.live)[0].String()
				args := append([]string{"add"}, strings.Fields(c.add)...)
				unchanged(t, p, "which is live and in no file", args...)
				p.run(append(args, "--replace")...)
				want := lab.Mappings(t, c.add)[0].String()
				if got := texts(b.live(t, host)); got != want {
					t.Errorf("instead of %s, %s is live; want %s", live, got, want)
				}
			})
		}
	})
}

// What claims other packets is in nobody's way.
func TestLiveMappingOfNoFileStays(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		p := b.command(t, host)
		all := b.add(t, host, "192.0.2.1:443:9443", "444:9444 -4", "445:5445 --source 10.0.0.0/8", "446:9446/udp",
			"447:9447")
		for _, line := range []string{
			"192.0.2.11:443:8443", "[2001:db8::1]:443:8443", "444:8444 -6", "445:8445 --source 192.0.2.0/24",
			"446:8446", "447:9447",
		} {
			p.run(append([]string{"add"}, strings.Fields(line)...)...)
			all = append(rules.Minus(all, lab.Mappings(t, line)), lab.Mappings(t, line)...)
		}
		live := b.live(t, host)
		if left := rules.Minus(all, mappingsIn(live)); len(left) > 0 || len(live.Mappings) != len(all) ||
			live.Damaged != "" {
			t.Errorf("live are\n%s\n%s", texts(live), live.Damaged)
		}
	})
}

func mappingsIn(live rules.Live) (list []rules.Mapping) {
	for _, l := range live.Mappings {
		list = append(list, l.Mapping)
	}
	return list
}

// One of them can be removed, also by a command whose file has other mappings.
func TestLiveMappingOfNoFileIsRemoved(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		b.add(t, host, "443:8443/tcp,udp", "81:8081/udp")
		p := b.command(t, host)
		write(t, p.file, b.line()+"80:8080\n")
		if got := p.run("remove", "443"); got != "removed 443:8443/tcp,udp\n" {
			t.Errorf("remove says %q", got)
		}
		if got := texts(b.live(t, host)); strings.Contains(got, "443:8443") || !strings.Contains(got, "81:8081") {
			t.Errorf("live are\n%s", got)
		}
	})
}

// A name is not given twice, even where the ports differ.
func TestNameOfALiveMappingOfNoFile(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	p := b.command(t, host)
	b.add(t, host, "80:8080 --name web")
	unchanged(t, p, "which is live and in no file", "add", "82:8082/udp", "--name", "web")
}

// With many mappings live the maps are not read, and what has the same port is found all the same.
func TestOverlapAmongMany(t *testing.T) {
	b := backends()[0]
	host, _ := b.barePair(t)
	var lines []string
	for port := 1000; port < 6000; port++ {
		lines = append(lines, fmt.Sprintf("%d:9000 -4", port))
	}
	b.change(t, host, rules.Change{Reset: true, Add: lab.Mappings(t, lines...)})
	b.with(t, host, func(k rules.Backend) error {
		// in this order: the second one would be in the way of the first, too
		for _, line := range []string{"5999:8443", "5999:8443 -6", "6000:8443"} {
			refused := line == "5999:8443"
			err := k.Apply(context.Background(), rules.Change{Add: lab.Mappings(t, line)})
			switch named := errors.Is(err, rules.ErrDrift) && strings.Contains(err.Error(), "5999:9000/tcp -4"); {
			case refused && !named, !refused && err != nil:
				t.Errorf("%s: %v", line, err)
			}
		}
		return nil
	})
}
