package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
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

// AskOver sends a datagram to an [Host.Echo] over a socket that the test has opened.
func AskOver(conn net.Conn) (Answer, error) { return ask(conn, "udp", answerWithin) }

// Chat listens on the host for TCP connections that stay open, and sends each line back.
func (h *Host) Chat(address string) {
	h.t.Helper()
	var listener net.Listener
	var err error
	h.Do(func() { listener, err = net.Listen("tcp", address) })
	h.must("listen on "+address, err)
	h.t.Cleanup(func() { listener.Close() })
	go func() {
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
	}()
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
