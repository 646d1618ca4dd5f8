package integration

import (
	"fmt"
	"net"
	"net/http"

	"portmap/internal/finding"

	"golang.org/x/sys/unix"
)

// hostsWithoutServer have no server that all clients reach.
func hostsWithoutServer() []brokenHost {
	again := func(s *checkedHost) { s.endServers(); s.serve("tcp [::]:8443") }
	instead := func(server string) func(*checkedHost) {
		return func(s *checkedHost) { s.endServers(); s.serve(server) }
	}
	return []brokenHost{
		{cause: "nobody listens", finds: finding.NoServer, breaks: (*checkedHost).endServers, hand: again},
		{cause: "listens on loopback only", finds: finding.LoopbackOnly, asks: []question{ask4},
			breaks: instead("tcp 127.0.0.1:8443")},
		{cause: "listens on loopback only, with options", finds: finding.LoopbackOnly, asks: []question{ask4},
			add: "443:8443 -4 --name shop", breaks: instead("tcp 127.0.0.1:8443")},
		{cause: "listens on IPv6 loopback only", finds: finding.LoopbackOnly, breaks: instead("tcp [::1]:8443"),
			hand: again},
		{cause: "listens at the second address only", finds: finding.ServerAddress, add: "443:8443 -4",
			asks: []question{ask4}, hand: again, breaks: func(s *checkedHost) {
				s.run("ip address add 192.0.2.9/24 dev eth0")
				instead("tcp 192.0.2.9:8443")(s)
			}},
		{cause: "listens at another address than that of the mapping", finds: finding.NoServer,
			add: "192.0.2.1:443:8443", asks: []question{ask4}, hand: again, breaks: func(s *checkedHost) {
				s.run("ip address add 192.0.2.9/24 dev eth0")
				instead("tcp 192.0.2.9:8443")(s)
			}},
		{cause: "listens on loopback only, and the mapping at one address", finds: finding.LoopbackOnly,
			add: "192.0.2.1:443:8443", asks: []question{ask4}, breaks: instead("tcp 127.0.0.1:8443")},
		{cause: "listens on IPv4 only", finds: finding.ServerPartly, breaks: instead("tcp 0.0.0.0:8443"), hand: again},
		{cause: "listens for one protocol only", finds: finding.ServerPartly, add: "443:8443/tcp,udp",
			serve: []string{"tcp [::]:8443", "udp [::]:8443"}, asks: []question{ask4, "udp 192.0.2.1:443"},
			breaks: instead("tcp [::]:8443"), hand: func(s *checkedHost) { s.serve("udp [::]:8443") }},
		{cause: "another user on the target port", finds: finding.ServerBlocked, users: true,
			add: fmt.Sprintf("443:8443 --owner %d", owner), breaks: func(s *checkedHost) {
				s.endServers()
				s.servers = append(s.servers, s.host.EchoAs(squatter, "tcp", "[::]:8443"))
			}, hand: again},
		{cause: "the server does not accept", finds: finding.SocketBacklog, breaks: fullQueue,
			hand: func(s *checkedHost) {
				_ = unix.Close(s.more.(int))
				s.serve("tcp [::]:8443")
			}},
		{cause: "it names its own port", finds: finding.PortLeaked, add: "80:8443",
			asks: []question{"tcp 192.0.2.1:80"}, breaks: leak, hand: again},
	}
}

// fullQueue puts a server in the place of that which is there, which does not take the connections that wait for it.
func fullQueue(s *checkedHost) {
	s.endServers()
	s.host.Do(func() { // not by package net, which accepts as soon as it can and asks for a long queue
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil { // connections of the other one may be in TIME_WAIT
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet6{Port: 8443})
		}
		if err == nil {
			err = unix.Listen(fd, 0)
		}
		if err != nil {
			s.Error(err)
		}
		s.more = fd
	})
	for range 2 {
		_, _ = s.client.AskWithin(silence/3, "tcp", "", "192.0.2.1:443")
	}
}

// leak starts a web server that sends clients to its own port.
func leak(s *checkedHost) {
	s.endServers()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://example.org:8443/")
		w.WriteHeader(http.StatusFound)
	})}
	s.host.Do(func() {
		listener, err := net.Listen("tcp", "[::]:8443")
		if err != nil {
			s.Error(err)
			return
		}
		go func() { _ = web.Serve(listener) }()
	})
	s.servers = append(s.servers, func() { _ = web.Close() })
	s.Cleanup(func() { _ = web.Close() })
}
