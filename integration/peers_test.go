package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// The main job: Node.js' own HTTP/2 server, unmodified, run by an unprivileged user on 8443; one command; public on
// 443.
func TestNodeHTTP2ServerIsPublicOn443(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.NodeHTTP2("::", "8443")
		p := b.command(t, host)
		uid := lab.UnprivilegedUID()
		p.run("add", "443:8443")
		for _, w := range ways(host, client) {
			want := fmt.Sprintf("HTTP/2 %s 8443 uid=%d", w.sees, uid)
			if got := w.from.Curl("https://" + w.address + "/"); got != want {
				t.Errorf("%s: got %q, want %q", w.name, got, want)
			}
		}
		if got := host.Curl("https://localhost/"); !strings.HasPrefix(got, "HTTP/2 ") ||
			!strings.HasSuffix(got, fmt.Sprintf("1 8443 uid=%d", uid)) {
			t.Errorf("localhost: got %q, want HTTP/2 from the server on 8443", got)
		}
		p.run("remove", "443")
		for _, w := range ways(host, client) {
			if r := w.from.Try("curl", "-gks", "--max-time", "5", "https://"+w.address+"/"); r.Code != 7 {
				t.Errorf("%s: after the removal curl exits with %d, want 7 (could not connect)", w.name, r.Code)
			}
		}
	})
}

func TestQUIC(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.QUICServer("[::]:8443")
		b.add(t, host, "443:8443/tcp,udp")
		for _, w := range ways(host, client) {
			if got, err := w.from.DialQUIC(w.address + ":443").Ask(); err != nil || got != w.sees {
				t.Errorf("%s: got %q, %v, want %q", w.name, got, err, w.sees)
			}
		}
	})
}

// Packet rule 10: NAT is decided by the first packet of a flow, and a UDP flow has no end. After a change it goes the
// new way.
func TestChangedUDPFlow(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Echo("udp", "192.0.2.1:443", "192.0.2.1:8443", "192.0.2.1:9443")
		p := b.command(t, host)
		flow := client.Flow("udp", "192.0.2.1:443")
		step := func(what string, port uint16) {
			t.Helper()
			if got, err := flow.Ask(); err != nil || got.Server.Port() != port {
				t.Errorf("%s: %+v, %v; want port %d", what, got, err, port)
			}
		}
		step("unmapped", 443)
		p.run("add", "443:8443/udp")
		step("after add", 8443)
		p.run("add", "443:8443/tcp,udp", "--replace", "--name", "shop")
		step("after a change that concerns others", 8443)
		p.run("add", "443:9443/udp", "--replace")
		step("after replace", 9443)
		p.run("flush")
		step("after flush", 443)
		p.run("apply")
		step("after apply", 9443)
		p.run("remove", "443")
		step("after remove", 443)
	})
}

// An established TCP connection of a mapping that only got a new sibling, or a name, goes on; one of a mapping that is
// gone ends.
func TestEstablishedTCPConnections(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		host.Chat("192.0.2.1:8443")
		p := b.command(t, host)
		p.run("add", "443:8443")
		talk := client.Talk("192.0.2.1:443")
		talk.Must(t, "over the new mapping")
		p.run("add", "443:8443/tcp,udp", "--replace")
		talk.Must(t, "after udp was added")
		p.run("add", "80:8080")
		p.run("add", "443:8443/tcp,udp", "--replace", "--name", "shop")
		talk.Must(t, "after it got a name")
		p.run("remove", "443")
		if err := talk.Say(time.Second); err == nil {
			t.Error("after the removal the connection goes on")
		}
	})
}

// A flow that is forwarded, or goes out, is not deleted when a mapping for its port comes: its translation by others
// would be lost.
func TestForwardedFlowsKeepTheirEntries(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		n := lab.New(t)
		client, router, server := n.Host("client"), n.Host("router"), n.Host("server")
		n.Link(router, "192.0.2.1/24", client, "192.0.2.2/24")
		n.Link(router, "198.51.100.1/24", server, "198.51.100.2/24")
		router.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
		client.Route("default", "192.0.2.1")
		server.Route("default", "198.51.100.1")
		server.Echo("udp", "198.51.100.2:443")
		b.change(t, router, rules.Change{Add: lab.Mappings(t, "53:5353/udp")}) // so that connection tracking is on
		flow := client.Flow("udp", "198.51.100.2:443")
		if _, err := flow.Ask(); err != nil {
			t.Fatal(err)
		}
		before := router.Run("conntrack", "-L", "-p", "udp", "--dport", "443", "-o", "id")
		b.command(t, router).run("add", "443:8443/udp")
		after := router.Run("conntrack", "-L", "-p", "udp", "--dport", "443", "-o", "id")
		if id(before) == "" || id(before) != id(after) {
			t.Errorf("the entry of a forwarded flow was\n%snow\n%s", before, after)
		}
	})
}
