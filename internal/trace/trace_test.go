package trace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (host, client *lab.Host) {
	network := lab.New(t)
	host, client = network.Host("host"), network.Host("client")
	network.Link(host, "192.0.2.1/24", "2001:db8::1/64", client, "192.0.2.2/24", "2001:db8::2/64")
	client.Do(func() { // on a busy machine a new link loses what is sent at first, which is sent again after a second
		for _, closed := range [...]string{"192.0.2.1:1", "[2001:db8::1]:1"} {
			if _, err := net.DialTimeout("tcp", closed, 5*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s is not refused: %v", closed, err)
			}
		}
	})
	return host, client
}

func connect(client *lab.Host, to string) {
	client.Do(func() {
		if conn, err := net.DialTimeout("tcp", to, 100*time.Millisecond); err == nil {
			conn.Close()
		}
	})
}

// follow opens a Tracer on the host, has the client send, and returns what was seen.
func follow(t *testing.T, host *lab.Host, s []Selection, send func()) (packets []*Packet) {
	t.Helper()
	host.Do(func() {
		tracer, err := Open(s...)
		if err != nil {
			t.Error(err)
			return
		}
		defer tracer.Close()
		send()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		for {
			p, err := tracer.Next(ctx)
			if err != nil {
				return
			}
			packets = append(packets, p)
		}
	})
	return packets
}

func way(p *Packet) string {
	var words []string
	for _, h := range p.Hops {
		words = append(words, fmt.Sprintf("%s/%s:%s%s>%d", h.Table, h.Chain, h.Verdict, h.Jump, h.To.Port()))
	}
	return fmt.Sprintf("%s %s %s", p.Protocol, p.To, strings.Join(words, " "))
}

const someRules = `
	add table inet t
	add chain inet t pre { type nat hook prerouting priority dstnat; }
	add chain inet t in { type filter hook input priority filter; policy drop; }
	add chain inet t more
	add rule inet t pre tcp dport 443 dnat to :8443
	add rule inet t in tcp dport 8443 jump more
	add rule inet t more tcp dport 8443 drop
	add rule inet t in tcp dport 80 accept
	add rule inet t in udp dport 53 accept
	add rule inet t in meta l4proto ipv6-icmp accept`

// Each rule that a packet meets is there, in order, with what it decided; the policy, too; and nothing of packets that
// were not picked.
func TestWayOfPackets(t *testing.T) {
	host, client := pair(t)
	host.Run("nft", someRules)
	host.Echo("tcp", "[::]:80")
	packets := follow(t, host, []Selection{{Protocol: rules.TCP, Ports: rules.Ports{First: 80, Last: 443}}}, func() {
		connect(client, "192.0.2.1:443")
		connect(client, "[2001:db8::1]:80")
		connect(client, "192.0.2.1:81")
		connect(client, "192.0.2.1:8443")
	})
	var got []string
	for _, p := range packets {
		got = append(got, way(p))
	}
	want := []string{
		"tcp 192.0.2.1:443 t/pre:accept>443 t/in:jumpmore>8443 t/more:drop>8443",
		"tcp [2001:db8::1]:80 t/pre:accept>80 t/in:accept>80",
		"tcp 192.0.2.1:81 t/pre:accept>81 t/in:drop>81",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Of packets that somebody else follows, only those are seen that were picked, too.
func TestPacketsOfOthers(t *testing.T) {
	host, client := pair(t)
	host.Run("nft", `
		add table inet t
		add chain inet t early { type filter hook prerouting priority -600; }
		add rule inet t early meta nftrace set 1`)
	host.Echo("tcp", "[::]:80")
	packets := follow(t, host, []Selection{{Protocol: rules.TCP, Ports: rules.Ports{First: 80, Last: 80}}}, func() {
		connect(client, "192.0.2.1:80")
		connect(client, "192.0.2.1:81")
	})
	if len(packets) != 1 || packets[0].To.Port() != 80 || packets[0].Tracked.State == "established" {
		t.Errorf("%d packets, of which one was picked: %+v", len(packets), packets)
	}
}

// Of UDP only the first datagram of a flow is followed; and a selection by source, address or rate leaves out the rest.
func TestSelections(t *testing.T) {
	host, client := pair(t)
	host.Run("nft", someRules)
	host.Echo("udp", "0.0.0.0:53")
	datagrams := func() {
		client.Do(func() {
			conn, err := net.Dial("udp", "192.0.2.1:53")
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for range 3 {
				fmt.Fprint(conn, "x")
				_, _ = conn.Read(make([]byte, 100))
			}
		})
	}
	if p := follow(t, host, []Selection{{Protocol: rules.UDP, Ports: rules.Ports{First: 53, Last: 53}}},
		datagrams); len(p) != 1 || p[0].Dropped() {
		t.Errorf("of one flow %d packets", len(p))
	}
	syns := func() {
		for range 3 {
			connect(client, "192.0.2.1:80")
		}
	}
	host.Echo("tcp", "0.0.0.0:80")
	for _, test := range []struct {
		name string
		s    Selection
		want int
	}{
		{"all", Selection{Protocol: rules.TCP}, 3},
		{"another source", Selection{Protocol: rules.TCP,
			Sources: lab.Mappings(t, "1:2 --source 192.0.2.3")[0].Sources()}, 0},
		{"this source", Selection{Protocol: rules.TCP,
			Sources: lab.Mappings(t, "1:2 --source 192.0.2.0/29")[0].Sources()}, 3},
		{"IPv6 source", Selection{Protocol: rules.TCP, Sources: lab.Mappings(t, "1:2 --source ::/0")[0].Sources()}, 0},
		{"this address", Selection{To: lab.Mappings(t, "192.0.2.1:1:2")[0].Listen()}, 3},
		{"another address", Selection{To: lab.Mappings(t, "192.0.2.2:1:2")[0].Listen()}, 0},
		{"one a second", Selection{Protocol: rules.TCP, PerSecond: 1}, 1},
	} {
		if got := follow(t, host, []Selection{test.s}, syns); len(got) != test.want {
			t.Errorf("%s: %d packets, not %d", test.name, len(got), test.want)
		}
	}
}

// What a killed process leaves is gone at once; a table that is left all the same is deleted by the next one.
func TestNothingIsLeft(t *testing.T) {
	host, _ := pair(t)
	before := host.Run("nft", "list", "ruleset")
	host.Run("nft", "add table inet portmap-trace-4194999") // more than a PID can be
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	host.Do(func() {
		tracer, err := Open(Selection{Every: true, In: "eth0"})
		if err != nil {
			t.Error(err)
			return
		}
		if !tracer.owned {
			t.Error("the table has no owner")
		}
		if text := host.Run("nft", "list", "ruleset"); !strings.Contains(text, tracer.table) {
			t.Errorf("while it is open: %s", text)
		}
		tracer.owner.Close() // as the end of the process does
		tracer.owner = nil
		tracer.Close()
	})
	for range 100 {
		if host.Run("nft", "list", "ruleset") == before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("after it: %s", host.Run("nft", "list", "ruleset"))
}
