package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Flow is a client's socket that stays open: all its datagrams are one flow to connection tracking.
type Flow struct {
	network string
	conn    net.Conn
}

// Flow opens a socket to an [Host.Echo] on "udp".
func (h *Host) Flow(network, to string) *Flow {
	h.t.Helper()
	var conn net.Conn
	var err error
	h.Do(func() { conn, err = net.Dial(network, to) })
	h.must("open a socket to "+to, err)
	h.t.Cleanup(func() { conn.Close() })
	return &Flow{network, conn}
}

// Ask sends one more datagram.
func (f *Flow) Ask() (Answer, error) { return ask(f.conn, f.network, answerWithin) }

// Local returns the client's own address.
func (f *Flow) Local() netip.AddrPort { return netip.MustParseAddrPort(f.conn.LocalAddr().String()) }

// Hear waits for a datagram that was not asked for.
func (f *Flow) Hear(within time.Duration) (string, error) {
	_ = f.conn.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 2048)
	n, err := f.conn.Read(buffer)
	return string(buffer[:n]), err
}

// AskOver sends a datagram to an [Host.Echo] by a socket of the test's.
func AskOver(conn net.Conn) (Answer, error) { return ask(conn, "udp", answerWithin) }

// Chat listens on the host for TCP connections that stay open, and says back each line.
func (h *Host) Chat(address string) { h.ChatAs(0, address) }

// ChatAs is Chat by a server that runs as a user, see [Host.As]. It returns a function that has it take no more
// connections.
func (h *Host) ChatAs(uid int, address string) (end func()) {
	h.t.Helper()
	var listener net.Listener
	listening := make(chan error)
	go h.As(uid, func() {
		var err error
		listener, err = net.Listen("tcp", address)
		if listening <- err; err != nil {
			return
		}
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	})
	h.must("listen on "+address, <-listening)
	h.t.Cleanup(func() { listener.Close() })
	return func() { listener.Close() }
}

// Talk is a TCP connection that stays open.
type Talk struct {
	conn  net.Conn
	lines *bufio.Reader
	said  int
}

// Talk connects to a [Host.Chat].
func (h *Host) Talk(to string) *Talk {
	h.t.Helper()
	flow := h.Flow("tcp", to)
	return &Talk{conn: flow.conn, lines: bufio.NewReader(flow.conn)}
}

// Say sends a line, and waits until it comes back.
func (t *Talk) Say(within time.Duration) error {
	t.said++
	_ = t.conn.SetDeadline(time.Now().Add(within))
	if _, err := fmt.Fprintln(t.conn, t.said); err != nil {
		return err
	}
	line, err := t.lines.ReadString('\n')
	if err == nil && line != fmt.Sprintln(t.said) {
		err = fmt.Errorf("said %d, heard %q", t.said, line)
	}
	return err
}

// Must fails the test if the connection has ended.
func (t *Talk) Must(tb testing.TB, when string) {
	tb.Helper()
	if err := t.Say(answerWithin); err != nil {
		tb.Fatalf("%s: the connection ended: %v", when, err)
	}
}
