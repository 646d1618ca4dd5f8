package check

import (
	"strings"
	"testing"
	"time"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// Only a mapping for IPv6 alone is told of, where no interface can have IPv6.
func TestIPv6Off(t *testing.T) {
	network := lab.New(t)
	host := network.Host("host")
	network.Link(host, "192.0.2.1/24", "2001:db8::1/64", network.Host("client"), "192.0.2.2/24")
	const all, one = "ipv6/conf/all/disable_ipv6", "ipv6/conf/eth0/disable_ipv6"
	look := func(line string) func() []finding.Finding {
		m := lab.Mappings(t, line)[0]
		return func() []finding.Finding { return ipv6Off("", m) }
	}
	only6 := []string{"443:8443 -6", "[2001:db8::1]:443:8443", "443:[2001:db8::5]:8443"}
	for _, line := range only6 {
		host.Do(func() { expect(t, look(line)(), "", "") })
	}
	set(t, host, one, "1")
	cured(t, host, look("443:8443 -6 --interface eth0"))
	set(t, host, all, "1")
	for _, line := range only6 {
		host.Do(func() { expect(t, look(line)(), finding.IPv6Off, "IPv6 is off, and ") })
		cured(t, host, look(line))
	}
	for _, line := range []string{"443:8443", "443:8443 -4", "[::1]:443:8443"} {
		host.Do(func() { expect(t, look(line)(), "", "") })
	}
	set(t, host, one, "0") // it gets a link-local address again, as soon as the link is ready
	host.Do(func() {
		for end := time.Now().Add(5 * time.Second); !kernel("").hasIPv6() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		expect(t, look("443:8443 -6")(), "", "")
	})

	got := ipv6Off(kernel(t.TempDir()), lab.Mappings(t, "443:8443 -6")[0])
	expect(t, got, finding.IPv6Off, "this kernel has no IPv6")
	if got[0].Remedy != "" {
		t.Errorf("remedy %q", got[0].Remedy)
	}
}

// An interface that is down is told of once, and brought up by the remedy; one without a carrier has no remedy.
func TestInterfaceDown(t *testing.T) {
	network := lab.New(t)
	host, peer := network.Host("host"), network.Host("peer")
	network.Link(host, "192.0.2.1/24", "2001:db8::1/64", peer)
	look := func(line string) func() []finding.Finding {
		m := lab.Mappings(t, line)[0]
		return func() []finding.Finding { return interfaceDown(m) }
	}
	named := []string{"443:8443 --interface eth0", "192.0.2.1:443:8443", "[2001:db8::1]:443:8443",
		"192.0.2.1:443:8443 --interface eth0"}
	host.Run("sysctl", "-qw", "net.ipv6.conf.eth0.keep_addr_on_down=1")
	for _, line := range append(named, "443:8443", "443:8443 --interface eth9", "192.0.2.9:443:8443") {
		host.Do(func() { expect(t, look(line)(), "", "") })
	}
	host.Run("ip", "link", "set", "eth0", "down")
	for _, line := range named {
		host.Do(func() { expect(t, look(line)(), finding.InterfaceDown, "interface eth0, ") })
		cured(t, host, look(line))
	}
	host.Do(func() { expect(t, look("443:8443")(), "", "") })

	host.Run("ip", "link", "set", "eth0", "up")
	peer.Run("ip", "link", "set", "eth0", "down")
	host.Do(func() {
		got := look("443:8443 --interface eth0")()
		expect(t, got, finding.InterfaceDown, "has no carrier")
		if got[0].Remedy != "" || !strings.Contains(got[0].Seen, "NO-CARRIER") {
			t.Errorf("%+v", got)
		}
		expect(t, look("192.0.2.1:443:8443")(), "", "")
	})
}
