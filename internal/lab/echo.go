package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Echo listens on the host, on "tcp" or "udp", until the end of the test. It answers every connection, or datagram, by
// a line with its local and its remote address.
func (h *Host) Echo(network string, addresses ...string) {
	h.t.Helper()
	for _, address := range addresses {
		var err error
		h.Do(func() {
			if network == "tcp" {
				err = h.echoTCP(address)
			} else {
				err = h.echoUDP(address)
			}
		})
		h.must("listen on "+address, err)
	}
}

func (h *Host) echoTCP(address string) error {
	listener, err := net.Listen("tcp"+family(address), address)
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s %s\n", plain(conn.LocalAddr()), plain(conn.RemoteAddr()))
			conn.Close()
		}
	}()
	return nil
}

// family keeps Go from listening on [::] if the address is 0.0.0.0.
func family(address string) string {
	if addr, err := netip.ParseAddrPort(address); err == nil && addr.Addr().Is4() {
		return "4"
	}
	return ""
}

func (h *Host) echoUDP(address string) error {
	conn, err := net.ListenPacket("udp"+family(address), address)
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 2048)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(replier{conn, from}, "%s %s\n", plain(conn.LocalAddr()), plain(from))
		}
	}()
	return nil
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
	h.Do(func() {
		var conn net.Conn
		dialer := net.Dialer{Timeout: answerWithin, FallbackDelay: -1}
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
		a, err = ask(conn, network)
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

func ask(conn net.Conn, network string) (a Answer, err error) {
	_ = conn.SetDeadline(time.Now().Add(answerWithin))
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
