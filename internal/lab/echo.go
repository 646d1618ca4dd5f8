package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Echo listens on the host, on "tcp" or "udp", until the end of the test. It answers every connection, or datagram, by
// a line with its local and its remote address.
func (h *Host) Echo(network string, addresses ...string) { h.EchoAs(0, network, addresses...) }

// EchoAs is Echo by a server that runs as a user, see [Host.As]. It returns a function that ends it before the end of
// the test.
func (h *Host) EchoAs(uid int, network string, addresses ...string) (end func()) {
	h.t.Helper()
	var all []io.Closer
	for _, address := range addresses {
		listening := make(chan error)
		var server io.Closer
		go h.As(uid, func() {
			var serve func()
			var err error
			server, serve, err = echo(network, address)
			// A program that starts has its parent's sockets until execve(2), also one that was just closed.
			for end := time.Now().Add(answerWithin); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
				server, serve, err = echo(network, address)
			}
			if listening <- err; err == nil {
				serve()
			}
		})
		h.must("listen on "+address, <-listening)
		h.t.Cleanup(func() { server.Close() })
		all = append(all, server)
	}
	return func() {
		for _, server := range all {
			server.Close()
		}
	}
}

func echo(network, address string) (io.Closer, func(), error) {
	if network == "tcp" {
		listener, err := net.Listen("tcp"+family(address), address)
		return listener, func() { echoTCP(listener) }, err
	}
	conn, err := net.ListenPacket("udp"+family(address), address)
	return conn, func() { echoUDP(conn) }, err
}

func echoTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "%s %s\n", plain(conn.LocalAddr()), plain(conn.RemoteAddr()))
		conn.Close()
	}
}

// family keeps Go from listening on [::] if the address is 0.0.0.0.
func family(address string) string {
	if addr, err := netip.ParseAddrPort(address); err == nil && addr.Addr().Is4() {
		return "4"
	}
	return ""
}

func echoUDP(conn net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		_, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(replier{conn, from}, "%s %s\n", plain(conn.LocalAddr()), plain(from))
	}
}

type replier struct {
	conn net.PacketConn
	to   net.Addr
}

func (r replier) Write(b []byte) (int, error) { return r.conn.WriteTo(b, r.to) }

func plain(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}

// Answer is the answer to a client: the address and port of the server, and those of the client as the server saw them.
// Refused says that the port is closed.
type Answer struct {
	Refused, TimedOut bool
	Server, Client    netip.AddrPort
}

// answerWithin bounds the wait for an answer that may never come.
const answerWithin = 2 * time.Second

// Ask connects, or sends a datagram, from the host to an [Host.Echo]. From is the source address; it may be "".
func (h *Host) Ask(network, from, to string) (a Answer, err error) {
	h.t.Helper()
	return h.AskWithin(answerWithin, network, from, to)
}

// AskWithin is Ask with another bound: where no answer is expected.
func (h *Host) AskWithin(within time.Duration, network, from, to string) (a Answer, err error) {
	h.t.Helper()
	h.Do(func() {
		var conn net.Conn
		dialer := net.Dialer{Timeout: within, FallbackDelay: -1}
		if from != "" {
			source := netip.MustParseAddr(from)
			if network == "tcp" {
				dialer.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
			} else {
				dialer.LocalAddr = &net.UDPAddr{IP: source.AsSlice()}
			}
		}
		if conn, err = dialer.DialContext(context.Background(), network, to); err != nil {
			return
		}
		defer conn.Close()
		a, err = ask(conn, network, within)
	})
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Answer{Refused: true}, nil
	case errors.As(err, &timeout) && timeout.Timeout():
		return Answer{TimedOut: true}, nil
	}
	return a, err
}

func ask(conn net.Conn, network string, within time.Duration) (a Answer, err error) {
	_ = conn.SetDeadline(time.Now().Add(within))
	if network == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return a, err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return a, err
	}
	server, client, _ := strings.Cut(strings.TrimSpace(line), " ")
	if a.Server, err = netip.ParseAddrPort(server); err != nil {
		return a, err
	}
	a.Client, err = netip.ParseAddrPort(client)
	return a, err
}
