package integration

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// A segment that connection tracking does not know ends no connection to a server on another host either: neither the
// client's, nor the server's, which goes to this host. Not dropped, that one is answered by a reset, to the server: the
// control shows it.
func TestInvalidSegmentsOfRemoteServers(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		w := newNetwork(t)
		w.forward()
		w.one.Chat("10.0.0.5:9000")
		w.one.Chat("[2001:db8:5::5]:9000")
		strays := map[string]func(testing.TB, *stream){
			"client's": func(t testing.TB, s *stream) { s.strayFromClient(t) },
			"server's": w.strayFromServer,
		}
		for _, mapping := range []string{
			"443:10.0.0.5:9000,[2001:db8:5::5]:9000/tcp",
			"443:10.0.0.5:9000,[2001:db8:5::5]:9000/tcp --source 192.0.2.0/24,2001:db8::/64",
			"440-450:10.0.0.5:8997-9007,[2001:db8:5::5]:8997-9007/tcp",
		} {
			b.change(t, w.host, rules.Change{Reset: true, Add: lab.Mappings(t, mapping)})
			for _, from := range []*lab.Host{w.client, w.host} {
				for _, to := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
					for direction, stray := range strays {
						s := dialStream(t, from, w.host, to)
						stray(t, s)
						for range 3 {
							if err := s.say(); err != nil {
								t.Fatalf("%s, %s to %s, %s: the connection ended: %v", mapping, from.Name, to,
									direction, err)
							}
						}
					}
				}
			}
		}
		b.passInvalid(w.host)
		s := dialStream(t, w.client, w.host, "192.0.2.1:443")
		w.strayFromServer(t, s)
		var err error
		for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); {
			err = s.say()
		}
		if err == nil {
			t.Error("not dropped, it does nothing: the segment tests nothing")
		}
	})
}

// strayFromServer sends a segment from the server to this host, as one of the connection that this host has sent on:
// masqueraded, and from the client's port, which nobody else has.
func (w network) strayFromServer(t testing.TB, s *stream) {
	t.Helper()
	server, host := netip.MustParseAddrPort("10.0.0.5:9000"), "10.0.0.1"
	if s.server.Addr().Is6() {
		server, host = netip.MustParseAddrPort("[2001:db8:5::5]:9000"), "[2001:db8:5::1]"
	}
	to := netip.MustParseAddrPort(fmt.Sprintf("%s:%d", host, s.client.Port()))
	sendSegment(t, w.one, server, to, acknowledges, s.nextHeard+beyond, s.nextSent)
}
