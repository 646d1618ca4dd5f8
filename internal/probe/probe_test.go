package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// answersFor opens a client on the host, and asks one question for each text, such as "tcp 192.0.2.1:443".
func answersFor(t *testing.T, host *lab.Host, texts ...string) (list []Answer, entries []Entry) {
	t.Helper()
	host.Do(func() {
		client, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		var questions []Question
		for _, text := range texts {
			protocol, to, _ := strings.Cut(text, " ")
			q := Question{Protocol: rules.TCP, To: netip.MustParseAddrPort(to), Patience: 200 * time.Millisecond}
			if protocol == "udp" {
				q.Protocol = rules.UDP
			}
			questions = append(questions, q)
		}
		list = client.Ask(context.Background(), questions)
		if entries, err = Entries(list); err != nil {
			t.Error(err)
		}
	})
	if len(list) != len(texts) || len(entries) != len(texts) {
		t.Fatalf("%d answers, %d entries for %d questions", len(list), len(entries), len(texts))
	}
	return list, entries
}

func plainHost(t *testing.T) *lab.Host {
	network := lab.New(t)
	host, other := network.Host("host"), network.Host("other")
	network.Link(host, "192.0.2.1/24", "2001:db8::1/64", other, "192.0.2.2/24", "2001:db8::2/64")
	return host
}

func TestAsk(t *testing.T) {
	host := plainHost(t)
	host.Echo("tcp", "[::]:8443")
	host.Echo("udp", "[::]:443")
	host.Run("nft", `add table inet t; add chain inet t in { type filter hook input priority 0; };
		add rule inet t in tcp dport 81 drop; add rule inet t in tcp dport 82-83 reject with icmpx admin-prohibited`)
	answers, _ := answersFor(t, host, "tcp 192.0.2.1:8443", "tcp [2001:db8::1]:8443", "udp 192.0.2.1:443",
		"udp [2001:db8::1]:443", "tcp 192.0.2.1:80", "udp [2001:db8::1]:80", "tcp 192.0.2.1:81",
		"tcp 192.0.2.1:82")
	var said []string
	for _, a := range answers {
		said = append(said, fmt.Sprint(int(a.Outcome)))
	}
	want := []Outcome{Answered, Answered, Answered, Answered, Refused, Refused, Silent, Unreachable}
	for i, w := range want {
		if answers[i].Outcome != w {
			t.Fatalf("question %d: %v %v; all: %v", i, answers[i].Outcome, answers[i].Err, said)
		}
	}
	if answers[0].Took <= 0 || !answers[0].From.IsValid() {
		t.Errorf("%+v", answers[0])
	}
}

// What conntrack knows is where the packets went, for each family; and it is gone afterwards.
func TestEntries(t *testing.T) {
	host := plainHost(t)
	host.Echo("tcp", "[::]:8443")
	host.Run("nft", `add table inet t; add chain inet t pre { type nat hook prerouting priority dstnat; };
		add rule inet t pre tcp dport 443 dnat to :8443`)
	_, entries := answersFor(t, host, "tcp 192.0.2.1:443", "tcp [2001:db8::1]:443", "tcp 192.0.2.1:8443")
	for i, want := range []Entry{
		{true, true, netip.MustParseAddrPort("192.0.2.1:8443")},
		{true, true, netip.MustParseAddrPort("[2001:db8::1]:8443")},
		{true, false, netip.MustParseAddrPort("192.0.2.1:8443")},
	} {
		if entries[i] != want {
			t.Errorf("%d: %+v, not %+v", i, entries[i], want)
		}
	}
	if left := host.Run("conntrack", "-L"); strings.Contains(left, "443") {
		t.Errorf("conntrack still has\n%s", left)
	}
}

// Answers come back to the client where the host routes by the source address, as one with several uplinks does, and
// where new interfaces have no IPv6.
func TestAskHostsThatRouteApart(t *testing.T) {
	host := plainHost(t)
	host.Echo("tcp", "[::]:8443")
	host.Run("sh", "-c", `ip rule add from 192.0.2.1 lookup 101 && ip route add default via 192.0.2.2 table 101
		ip -6 rule add from 2001:db8::1 lookup 101 && ip -6 route add default via 2001:db8::2 table 101
		sysctl -qw net.ipv6.conf.default.disable_ipv6=1`)
	answers, _ := answersFor(t, host, "tcp 192.0.2.1:8443", "tcp [2001:db8::1]:8443")
	for _, a := range answers {
		if a.Outcome != Answered {
			t.Errorf("%s: %v %v", a.To, a.Outcome, a.Err)
		}
	}
}

// A client leaves nothing behind, and takes no address that the host uses.
func TestClientLeavesNothing(t *testing.T) {
	host := plainHost(t)
	host.Run("ip", "route", "add", "198.18.0.0/16", "via", "192.0.2.2")
	host.Run("ip", "address", "add", "198.19.0.1/17", "dev", "eth0")
	look := func() string {
		return host.Run("ip", "-d", "address") + host.Run("ip", "route", "show", "table", "all") +
			host.Run("ip", "-6", "route", "show", "table", "all") + host.Run("ls", "/proc/sys/net/ipv4/conf")
	}
	before := look()
	host.Do(func() {
		for range 5 {
			client, err := Open()
			if err != nil {
				t.Error(err)
				return
			}
			own, err := client.Address(netip.MustParseAddr("192.0.2.1"))
			if err != nil || !netip.MustParsePrefix("198.19.128.0/17").Contains(own) {
				t.Errorf("the client has %s, which the host uses; %v", own, err)
			}
			if link, err := net.InterfaceByName(client.Interface); err != nil || link.Flags&net.FlagUp == 0 {
				t.Errorf("%+v, %v", link, err)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	if after := look(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func TestSomeAddress(t *testing.T) {
	for _, text := range []string{measuring4, measuring6} {
		within := netip.MustParsePrefix(text)
		for range 100 {
			if a := someAddress(within); !within.Contains(a) || a == within.Addr() {
				t.Fatal(a)
			}
		}
	}
}

func TestDatagram(t *testing.T) {
	if d := datagramFor(443); len(d) != initialSize || d[0]&0xc0 != 0xc0 || d[5] != 8 || d[14] != 8 {
		t.Errorf("%x", d[:24])
	}
	if d := datagramFor(53); len(d) != 0 {
		t.Errorf("%x", d)
	}
}
