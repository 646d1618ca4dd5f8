package flows

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// plainHost has the address 192.0.2.1 on eth0 and 198.51.100.1 on eth1. It does not know how packets from
// 203.0.113.0/24 arrive.
type plainHost struct{}

func (plainHost) isLocal(addr netip.Addr) bool {
	return addr.String() == "192.0.2.1" || addr.String() == "198.51.100.1" || addr.String() == "2001:db8::1"
}

func (h plainHost) arrival(source, destination netip.Addr) (string, bool) {
	switch {
	case h.isLocal(source):
		return "", true
	case strings.HasPrefix(source.String(), "203.0.113."):
		return "", false
	case destination.String() == "198.51.100.1":
		return "eth1", true
	}
	return "eth0", true
}

// entry reads "udp CLIENT HOST:PORT REPLY_FROM".
func entry(t *testing.T, text string) *netlink.ConntrackFlow {
	t.Helper()
	words := strings.Fields(text)
	to, from := netip.MustParseAddrPort(words[2]), netip.MustParseAddrPort(words[3])
	client := netip.AddrPortFrom(netip.MustParseAddr(words[1]), 40000)
	e := &netlink.ConntrackFlow{Forward: tuple(client, to), Reverse: tuple(from, client)}
	switch words[0] {
	case "tcp":
		e.Forward.Protocol = unix.IPPROTO_TCP
	case "udp":
		e.Forward.Protocol = unix.IPPROTO_UDP
	case "icmp":
		e.Forward.Protocol = unix.IPPROTO_ICMP
	}
	return e
}

func tuple(from, to netip.AddrPort) netlink.IPTuple {
	return netlink.IPTuple{
		SrcIP: from.Addr().AsSlice(), SrcPort: from.Port(), DstIP: to.Addr().AsSlice(), DstPort: to.Port(),
	}
}

func listOf(t *testing.T, text string) []rules.Mapping {
	t.Helper()
	if text == "" {
		return nil
	}
	return lab.Mappings(t, strings.Split(text, "; ")...)
}

func TestWhatIsForgotten(t *testing.T) {
	const mapped, direct = "192.0.2.1:443 192.0.2.1:8443", "192.0.2.1:443 192.0.2.1:443"
	const eth0, eth1 = "443:8443 --interface eth0", "443:8443 --interface eth1"
	for _, test := range []struct {
		name                             string
		removed, added, restored, beside string // beside: stays
		flow                             string
		forgotten                        bool
	}{
		{name: "of a removed mapping, TCP", removed: "443:8443", flow: "tcp 192.0.2.2 " + mapped, forgotten: true},
		{name: "of a removed mapping, UDP", removed: "443:8443/udp", flow: "udp 192.0.2.2 " + mapped, forgotten: true},
		{name: "of a removed mapping, IPv6",
			removed: "443:8443", flow: "tcp 2001:db8::2 [2001:db8::1]:443 [2001:db8::1]:8443", forgotten: true},
		{name: "of a removed mapping for the other protocol", removed: "443:8443/tcp", flow: "udp 192.0.2.2 " + mapped},
		{name: "of a removed mapping for the other family", removed: "443:8443 -6", flow: "tcp 192.0.2.2 " + mapped},
		{name: "of a removed mapping for another address",
			removed: "198.51.100.1:443:8443", flow: "tcp 192.0.2.2 " + mapped},
		{name: "of a removed mapping for other sources",
			removed: "443:8443 --source 10.0.0.0/8", flow: "tcp 192.0.2.2 " + mapped},
		{name: "of a removed range, its port",
			removed: "440-449:8440-8449", flow: "tcp 192.0.2.2 " + mapped, forgotten: true},
		{name: "of a removed range, another port", removed: "440-449:8441-8450", flow: "tcp 192.0.2.2 " + mapped},
		{name: "to another address", removed: "443:8443", flow: "tcp 192.0.2.2 192.0.2.1:443 172.17.0.2:8443"},
		{name: "to another address, its port added",
			added: "443:8443/udp", restored: "443:8443/udp", flow: "udp 192.0.2.2 192.0.2.1:443 172.17.0.2:443"},
		{name: "to another port", removed: "443:8443", flow: "tcp 192.0.2.2 192.0.2.1:443 192.0.2.1:7443"},
		{name: "to another port, its port added",
			added: "443:8443/udp", flow: "udp 192.0.2.2 192.0.2.1:443 192.0.2.1:7443"},
		{name: "to another host", removed: "443:10.0.0.5:8443", flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.5:8443",
			forgotten: true},
		{name: "to another host, by others", removed: "443:10.0.0.5:8443",
			flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.6:8443"},
		{name: "to another host, IPv6", removed: "443:[2001:db8::5]:8443",
			flow: "tcp 2001:db8::2 [2001:db8::1]:443 [2001:db8::5]:8443", forgotten: true},
		{name: "to another host, of a range", removed: "440-449:10.0.0.5:8440-8449",
			flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.5:8443", forgotten: true},
		{name: "to another host, another port of a range", removed: "440-449:10.0.0.5:8440-8449",
			flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.5:8444"},
		{name: "to the target that is taken away, TCP", removed: "443:10.0.0.5:8443,10.0.0.6:8443",
			added: "443:10.0.0.5:8443", flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.6:8443", forgotten: true},
		{name: "to a target that stays", removed: "443:10.0.0.5:8443,10.0.0.6:8443", added: "443:10.0.0.5:8443",
			flow: "tcp 192.0.2.2 192.0.2.1:443 10.0.0.5:8443"},
		{name: "to the port that is taken away", removed: "443:8443,9443", added: "443:9443",
			flow: "tcp 192.0.2.2 " + mapped, forgotten: true},
		{name: "to a port that stays", removed: "443:8443,9443", added: "443:8443", flow: "tcp 192.0.2.2 " + mapped},
		{name: "to loopback", removed: "443:127.0.0.1:8443", flow: "tcp 192.0.2.2 192.0.2.1:443 127.0.0.1:8443",
			forgotten: true},
		{name: "untranslated UDP, now to another host", added: "443:10.0.0.5:8443/udp", flow: "udp 192.0.2.2 " + direct,
			forgotten: true},
		{name: "forwarded", removed: "443:8443", flow: "tcp 192.0.2.2 192.0.2.77:443 192.0.2.77:8443"},
		{name: "of a third protocol", removed: "443:8443", added: "443:8443/udp", flow: "icmp 192.0.2.2 " + direct},

		{name: "renamed", removed: "443:8443", added: "443:8443 --name shop", flow: "tcp 192.0.2.2 " + mapped},
		{name: "with a sibling", removed: "443:8443", added: "443:8443/tcp,udp", flow: "tcp 192.0.2.2 " + mapped},
		{name: "with another target",
			removed: "443:8443", added: "443:9443", flow: "tcp 192.0.2.2 " + mapped, forgotten: true},
		{name: "still within the sources",
			removed: "443:8443", added: "443:8443 --source 192.0.2.0/24", flow: "tcp 192.0.2.2 " + mapped},
		{name: "out of the sources",
			removed: "443:8443", added: "443:8443 --source 10.0.0.0/8",
			flow: "tcp 192.0.2.2 " + mapped, forgotten: true},

		{name: "untranslated UDP", added: "443:8443/udp", flow: "udp 192.0.2.2 " + direct, forgotten: true},
		{name: "untranslated UDP of the host itself",
			added: "443:8443/udp", flow: "udp 192.0.2.1 " + direct, forgotten: true},
		{name: "untranslated UDP to another port", added: "444:8443/udp", flow: "udp 192.0.2.2 " + direct},
		{name: "untranslated UDP from elsewhere",
			added: "443:8443/udp --source 10.0.0.0/8", flow: "udp 192.0.2.2 " + direct},
		{name: "untranslated TCP", added: "443:8443/tcp,udp", flow: "tcp 192.0.2.2 " + direct},
		{name: "untranslated TCP, restored", added: "443:8443", restored: "443:8443", flow: "tcp 192.0.2.2 " + direct},
		{name: "untranslated, its mapping removed", removed: "443:8443/udp", flow: "udp 192.0.2.2 " + direct},

		{name: "direct UDP to a hidden port", added: "444:443/udp --hide", flow: "udp 192.0.2.2 " + direct,
			forgotten: true},
		{name: "direct UDP to the hidden port of a second target", added: "444:442,443/udp --hide",
			flow: "udp 192.0.2.2 " + direct, forgotten: true},
		{name: "direct UDP to a hidden port, of the host itself", added: "444:443/udp --hide",
			flow: "udp 192.0.2.1 " + direct},
		{name: "direct UDP to a hidden port, it is not known how", added: "444:443/udp --hide",
			flow: "udp 203.0.113.2 " + direct, forgotten: true},
		{name: "direct UDP to a port hidden on another interface", added: "444:443/udp --hide --interface eth1",
			flow: "udp 192.0.2.2 " + direct},
		{name: "direct UDP to a port hidden on an interface, it is not known how",
			added: "444:443/udp --hide --interface eth0", flow: "udp 203.0.113.2 " + direct},
		{name: "direct TCP to a hidden port", added: "444:443/tcp,udp --hide", flow: "tcp 192.0.2.2 " + direct},
		{name: "of a mapping to a hidden port", added: "443:8443/udp --hide", flow: "udp 192.0.2.2 " + mapped},
		{name: "of a mapping with another owner", removed: "443:8443 --owner a", added: "443:8443 --owner b",
			flow: "tcp 192.0.2.2 " + mapped},

		{name: "restored, what it said before is not known",
			added: "443:9443/udp", restored: "443:9443/udp", flow: "udp 192.0.2.2 " + mapped, forgotten: true},
		{name: "restored, it says the same",
			added: "443:8443/udp", restored: "443:8443/udp", flow: "udp 192.0.2.2 " + mapped},
		{name: "restored, TCP",
			added: "443:9443/tcp,udp", restored: "443:9443/tcp,udp", flow: "tcp 192.0.2.2 " + mapped},

		{name: "by the removed card", removed: eth0, beside: eth1, flow: "tcp 192.0.2.2 " + mapped, forgotten: true},
		{name: "by the other card", removed: eth1, beside: eth0, flow: "tcp 192.0.2.2 " + mapped},
		{name: "by the other card, alone", removed: eth1, flow: "tcp 192.0.2.2 " + mapped},
		{name: "by a card that is not known", removed: eth1, beside: eth0, flow: "tcp 203.0.113.2 " + mapped},
		{name: "by a card that is not known, the one target",
			removed: eth1, beside: "443:9443 --interface eth0", flow: "tcp 203.0.113.2 " + mapped, forgotten: true},
		{name: "untranslated UDP by the card",
			added: "443:8443/udp --interface eth0", flow: "udp 192.0.2.2 " + direct, forgotten: true},
		{name: "untranslated UDP by the other card",
			added: "443:8443/udp --interface eth1", flow: "udp 192.0.2.2 " + direct},
		{name: "untranslated UDP by a card that is not known",
			added: "443:8443/udp --interface eth1", flow: "udp 203.0.113.2 " + direct},
		{name: "untranslated UDP of the host itself, by a card",
			added: "443:8443/udp --interface eth0", flow: "udp 192.0.2.1 " + direct},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, err := rules.NewSet(append(listOf(t, test.beside), listOf(t, test.added)...)...)
			if err != nil {
				t.Fatal(err)
			}
			c := Change{listOf(t, test.removed), listOf(t, test.added), listOf(t, test.restored), []rules.Set{after}}
			if got := newFilter(c, plainHost{}).MatchConntrackFlow(entry(t, test.flow)); got != test.forgotten {
				t.Errorf("%s: forgotten: %t; want %t", test.flow, got, test.forgotten)
			}
		})
	}
}

// A mapping in the kernel keeps its flows, also if no file has it.
func TestWhatNoFileHas(t *testing.T) {
	c := Change{Removed: listOf(t, "443:8443"), Added: listOf(t, "443:8443 --name shop")}
	if newFilter(c, plainHost{}).MatchConntrackFlow(entry(t, "tcp 192.0.2.2 192.0.2.1:443 192.0.2.1:8443")) {
		t.Error("a flow of a mapping that was put back is forgotten")
	}
}

// The table can hold hundreds of thousands of flows: it is read only if one of them can be outdated.
func TestTheTableIsNotReadForNothing(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "443:8443/tcp": false, "443:8443/udp": true, "443:8443; 53:5353/tcp,udp": true,
	} {
		if got := (Change{Added: listOf(t, text)}).mayOutdate(); got != want {
			t.Errorf("added %q: mayOutdate: %t; want %t", text, got, want)
		}
	}
	if !(Change{Removed: listOf(t, "443:8443/tcp")}).mayOutdate() {
		t.Error("a removed mapping for TCP outdates no flows")
	}
}

func TestEntryWithoutAddresses(t *testing.T) {
	e := entry(t, "tcp 192.0.2.2 192.0.2.1:443 192.0.2.1:8443")
	e.Reverse.SrcIP = net.IP{}
	if _, ok := flowOf(e); ok {
		t.Error("an entry without the address that replies come from is read")
	}
}
