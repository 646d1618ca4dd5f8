package check

import (
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// A host with two ways to the world answers on one of them. With a strict rp_filter, clients that come on the other one
// are dropped: that is told of once packets were, and the remedy lets them in.
func TestReversePath(t *testing.T) {
	network := lab.New(t)
	host, one, two := network.Host("host"), network.Host("one"), network.Host("two")
	network.Link(host, "192.0.2.1/24", one, "192.0.2.2/24")
	network.Link(host, "203.0.113.1/24", "10.0.0.1/8", two, "203.0.113.2/24", "198.51.100.9/24")
	host.Route("default", "192.0.2.2")
	host.Echo("tcp", "0.0.0.0:443")
	look := func(lines ...string) func() []finding.Finding {
		mappings := lab.Mappings(t, lines...)
		return func() []finding.Finding { return reversePath("", mappings) }
	}
	connect := func() {
		two.Try("timeout", "0.2", "bash", "-c", "exec 3<>/dev/tcp/203.0.113.1/443")
	}
	set(t, two, "ipv4/conf/all/arp_announce", "2") // it asks for the host with the address that the host would answer
	two.Run("ip", "route", "replace", "203.0.113.1", "dev", "eth0", "src", "198.51.100.9")

	set(t, host, "ipv4/conf/all/rp_filter", "1")
	host.Do(func() { expect(t, look("443:8443")(), "", "") }) // nothing was dropped yet
	connect()
	for _, line := range []string{"443:8443", "203.0.113.1:443:8443", "443:8443 --interface eth1",
		"443:8443 --source 198.51.100.0/24", "10.0.0.1:443:8443"} {
		host.Do(func() { expect(t, look(line, "80:8080 -6")(), finding.ReversePath, " on eth1, since") })
		cured(t, host, look(line))
	}
	for _, line := range []string{"443:8443 -6", "192.0.2.1:443:8443", "443:8443 --interface eth0",
		"443:8443 --source 203.0.113.0/24"} {
		host.Do(func() { expect(t, look(line)(), "", "") })
	}
	host.Do(func() {
		if seen := look("443:8443")()[0].Seen; !strings.Contains(seen, "IPReversePathFilter = ") ||
			strings.Contains(seen, "= 0 ") {
			t.Error(seen)
		}
	})
	host.Run("ip", "address", "delete", "203.0.113.1/24", "dev", "eth1") // a private network is left
	host.Do(func() { expect(t, look("443:8443")(), "", "") })
}
