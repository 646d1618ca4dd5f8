package probe

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Question is one first packet: a SYN, or a datagram.
type Question struct {
	Protocol rules.Protocols // one
	To       netip.AddrPort
	Patience time.Duration // how long an answer may take
}

// Outcome is what came back.
type Outcome int

// The outcomes.
const (
	Silent      Outcome = iota // nothing
	Answered                   // the handshake was completed, or a datagram came back
	Refused                    // a TCP reset, or an ICMP port unreachable
	Unreachable                // another ICMP error, as a rule that rejects sends it
	Unsent                     // the client could not send
)

// Answer is what became of a Question.
type Answer struct {
	Question
	From    netip.AddrPort // from where it was sent
	Outcome Outcome
	Err     error         // of Unreachable and Unsent
	Took    time.Duration // until the answer came
}

// Ask sends all questions at once, and returns their answers in the same order. A TCP connection that is made is ended
// at once, in order if the server joins in.
func (c *Client) Ask(ctx context.Context, questions []Question) []Answer {
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		answers[i].Question = q
		if _, err := c.Address(q.To.Addr()); err != nil {
			answers[i].Outcome, answers[i].Err = Unsent, err
		}
	}
	var open []*sent
	c.Do(func() {
		for i := range answers {
			if answers[i].Err == nil {
				if s := c.send(&answers[i]); s != nil {
					open = append(open, s)
				}
			}
		}
	})
	for len(open) > 0 && ctx.Err() == nil {
		open = wait(open)
	}
	for _, s := range open {
		_ = unix.Close(s.fd)
	}
	return answers
}

// sent is a question that is on its way.
type sent struct {
	fd     int
	at     time.Time
	answer *Answer
	ending bool // it is answered, and the client has ended the connection
}

// send opens a socket and sends. It returns nil if the answer is known already.
func (c *Client) send(a *Answer) *sent {
	s := &sent{answer: a, at: time.Now()}
	var err error
	if s.fd, err = socketFor(a.Protocol, a.To.Addr()); err == nil {
		if err = s.connect(c.own[a.To.Addr()]); err == nil {
			return s
		}
		_ = unix.Close(s.fd)
	}
	a.Outcome, a.Err = Unsent, err
	return nil
}

func (s *sent) connect(own netip.Addr) error {
	if err := unix.Bind(s.fd, socketAddress(netip.AddrPortFrom(own, 0))); err != nil {
		return err
	}
	err := unix.Connect(s.fd, socketAddress(s.answer.To))
	if errors.Is(err, unix.EINPROGRESS) {
		err = nil
	}
	if name, nameErr := unix.Getsockname(s.fd); nameErr == nil {
		s.answer.From = addrPortOf(name)
	}
	if err != nil || s.answer.Protocol != rules.UDP {
		return err
	}
	return unix.Send(s.fd, datagramFor(s.answer.To.Port()), 0)
}

// wait waits until something has come, and returns the questions that are still open.
func wait(open []*sent) (still []*sent) {
	const longest = 50 * time.Millisecond // by then whether to go on is looked at again
	polled := make([]unix.PollFd, len(open))
	for i, s := range open {
		polled[i] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLOUT}
		if s.answer.Protocol == rules.UDP || s.ending {
			polled[i].Events = unix.POLLIN
		}
	}
	_, _ = unix.Poll(polled, int(longest.Milliseconds())) // an error is an early end of the wait
	for i, s := range open {
		switch took := time.Since(s.at); {
		case s.ending && (polled[i].Revents == 0 || !s.ended()) && took < s.answer.Took+goodbye:
			still = append(still, s)
		case s.ending:
			_ = unix.Close(s.fd)
		case polled[i].Revents != 0:
			s.answer.Took = took
			s.answer.Outcome, s.answer.Err = s.outcome()
			if s.end() {
				still = append(still, s)
			} else {
				_ = unix.Close(s.fd)
			}
		case took > s.answer.Patience:
			_ = unix.Close(s.fd)
		default:
			still = append(still, s)
		}
	}
	return still
}

// goodbye is how long a server may take to end a connection that the client has ended. Then it is reset: the client is
// gone soon, and the server would wait for the rest. To a reset at once some servers are not equal.
const goodbye = 100 * time.Millisecond

// end ends a connection on the client's side, and reports whether there is one.
func (s *sent) end() bool {
	s.ending = s.answer.Outcome == Answered && s.answer.Protocol == rules.TCP &&
		unix.Shutdown(s.fd, unix.SHUT_WR) == nil
	return s.ending
}

// ended reports whether the server has ended the connection, too. What it says before is of no interest.
func (s *sent) ended() bool {
	for {
		n, err := unix.Read(s.fd, make([]byte, 4096))
		if n <= 0 {
			return err == nil || !errors.Is(err, unix.EAGAIN)
		}
	}
}

func (s *sent) outcome() (Outcome, error) {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil && s.answer.Protocol == rules.UDP {
		_, err = unix.Read(s.fd, make([]byte, 1500))
	}
	switch {
	case err == nil:
		return Answered, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused, nil
	}
	return Unreachable, err
}

func socketFor(protocol rules.Protocols, to netip.Addr) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Is6() {
		family = unix.AF_INET6
	}
	if protocol == rules.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil && kind == unix.SOCK_STREAM {
		// Whatever has not ended in order is reset.
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return fd, err
}

func socketAddress(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func addrPortOf(name unix.Sockaddr) netip.AddrPort {
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
