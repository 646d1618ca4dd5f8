package integration

import (
	"bufio"
	endian "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// stream is a TCP connection from a client whose next sequence numbers are known, so that a segment can be made that
// looks as if it belonged to it.
type stream struct {
	conn                 *net.TCPConn
	lines                *bufio.Reader
	client, server       netip.AddrPort // as the client sees them
	nextSent, nextHeard  uint32
	clientHost, servedBy *lab.Host
}

// dialStream connects to a [lab.Host.Chat] on another host, or on this one.
func dialStream(t testing.TB, from, to *lab.Host, address string) *stream {
	t.Helper()
	s := &stream{clientHost: from, servedBy: to, server: netip.MustParseAddrPort(address)}
	var err error
	var conn net.Conn
	from.Do(func() { conn, err = net.DialTimeout("tcp", address, 5*time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.conn, s.lines = conn.(*net.TCPConn), bufio.NewReader(conn)
	s.client = netip.MustParseAddrPort(conn.LocalAddr().String())
	if err := s.say(); err != nil {
		t.Fatal(err)
	}
	s.readNumbers(t)
	return s
}

// say sends a line, and waits for it to come back.
func (s *stream) say() error {
	_ = s.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.conn.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := s.lines.ReadString('\n')
	return err
}

// readNumbers asks the kernel for the next sequence numbers of an idle connection (tcp(7) does not have TCP_REPAIR; see
// linux/tcp.h and criu.org/TCP_connection).
func (s *stream) readNumbers(t testing.TB) {
	t.Helper()
	const noProbe = -1 // TCP_REPAIR_OFF_NO_WP
	raw, err := s.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := func(fd, queue int) uint32 {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
			return 0
		}
		var n int
		n, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
		return uint32(n)
	}
	_ = raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
			return
		}
		s.nextHeard, s.nextSent = number(int(fd), 1), number(int(fd), 2)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, noProbe)
	})
	if err != nil {
		t.Fatal("TCP_REPAIR: ", err)
	}
}

// beyond is so far behind the next sequence number that no window reaches it: connection tracking calls the segment
// invalid (nf_conntrack_proto_tcp.c, tcp_in_window).
const beyond = 1 << 30

const acknowledges = 0x10 // the flag ACK (RFC 9293, 3.1)

// strayFromClient sends a segment to the server's listen port. Whoever does not know the connection answers with a
// reset that the client believes.
func (s *stream) strayFromClient(t testing.TB) {
	t.Helper()
	sendSegment(t, s.clientHost, s.client, s.server, acknowledges, s.nextSent+beyond, s.nextHeard)
}

// strayFromServer sends a segment as the server would, from its own port, for connection tracking to translate.
func (s *stream) strayFromServer(t testing.TB, port uint16) {
	t.Helper()
	sendSegment(t, s.servedBy, netip.AddrPortFrom(s.server.Addr(), port), s.client, acknowledges, s.nextHeard+beyond,
		s.nextSent)
}

// sendSegment sends one byte over a raw socket, header and all (raw(7), IPPROTO_RAW).
func sendSegment(t testing.TB, host *lab.Host, from, to netip.AddrPort, flags byte, sequence, acknowledge uint32) {
	t.Helper()
	packet := tcpSegment(from, to, flags, sequence, acknowledge)
	family, name := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, name = unix.AF_INET, &unix.SockaddrInet4{Addr: to.Addr().As4()}
	}
	var err error
	host.Do(func() {
		var fd int
		if fd, err = unix.Socket(family, unix.SOCK_RAW, unix.IPPROTO_RAW); err == nil {
			defer unix.Close(fd)
			err = unix.Sendto(fd, packet, 0, name)
		}
	})
	if err != nil && !errors.Is(err, unix.EPERM) { // which says that a guard dropped it
		t.Fatal("send a segment: ", err)
	}
}

func tcpSegment(from, to netip.AddrPort, flags byte, sequence, acknowledge uint32) []byte {
	order := endian.BigEndian
	segment := order.AppendUint16(nil, from.Port()) // RFC 9293, 3.1
	segment = order.AppendUint16(segment, to.Port())
	segment = order.AppendUint32(segment, sequence)
	segment = order.AppendUint32(segment, acknowledge)
	segment = append(segment, 5<<4, flags, 1, 0, 0, 0, 0, 0, 'x')
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = order.AppendUint32(pseudo, uint32(len(segment)))
	pseudo = order.AppendUint32(pseudo, unix.IPPROTO_TCP)
	order.PutUint16(segment[16:], checksum(append(pseudo, segment...)))
	var header []byte
	if from.Addr().Is4() { // RFC 791, 3.1; the kernel fills in length and checksum
		header = []byte{4<<4 | 5, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}
	} else { // RFC 8200, 3
		header = order.AppendUint16([]byte{6 << 4, 0, 0, 0}, uint16(len(segment)))
		header = append(header, unix.IPPROTO_TCP, 64)
	}
	header = append(append(header, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	return append(header, segment...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A segment that connection tracking does not know ends no connection, in either direction and whatever the mapping
// asks for. Without the rules that drop it, it does: the control shows that the segment is such a one.
func TestInvalidSegmentsResetNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Chat("192.0.2.1:8443")
		host.Chat("127.0.0.1:8443")
		host.Chat("[2001:db8::1]:8443")
		const v4, v6 = "192.0.2.1:443", "[2001:db8::1]:443"
		for _, c := range []struct {
			mapping string
			from    *lab.Host
			to      []string
		}{
			{"443:8443/tcp,udp", client, []string{v4, v6}},
			{"443:8443", host, []string{v4, v6, "127.0.0.1:443"}},
			{"443:8443 -4", client, []string{v4}},
			{"443:8443 -6", client, []string{v6}},
			{"192.0.2.1:443:8443", client, []string{v4}},
			{"[2001:db8::1]:443:8443", client, []string{v6}},
			{"440-450:8440-8450", client, []string{v4, v6}},
			{"443:8443 --interface eth0", client, []string{v4, v6}},
			{"443:8443 --source 192.0.2.0/24,10.0.0.0/8,2001:db8::/64", client, []string{v4, v6}},
		} {
			b.change(t, host, rules.Change{Reset: true, Add: lab.Mappings(t, c.mapping)})
			for _, to := range c.to {
				for direction, stray := range strays() {
					t.Run(fmt.Sprintf("%s, %s to %s, %s", c.mapping, c.from.Name, to, direction), func(t *testing.T) {
						s := dialStream(t, c.from, host, to)
						stray(t, s)
						for range 3 {
							if err := s.say(); err != nil {
								t.Fatalf("the connection ended: %v", err)
							}
						}
					})
				}
			}
		}
		b.passInvalid(host)
		for direction, stray := range strays() {
			t.Run("not dropped, "+direction, func(t *testing.T) {
				s := dialStream(t, client, host, v4)
				stray(t, s)
				var err error
				for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); {
					err = s.say()
				}
				if err == nil {
					t.Error("the connection goes on: the segment tests nothing")
				}
			})
		}
	})
}

// What is dropped is no connection, and is not counted as one.
func TestInvalidSegmentsAreNotCounted(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Chat("192.0.2.1:8443")
		host.Run("nft", `table inet seen {
			chain prerouting { type filter hook prerouting priority -160; ct state invalid counter; }
		}`)
		for _, mapping := range []string{"443:8443/tcp", "443:8443/tcp -4", "192.0.2.1:443:8443/tcp",
			"443:8443/tcp --source 192.0.2.0/24"} {
			b.change(t, host, rules.Change{Reset: true, Add: lab.Mappings(t, mapping)})
			s := dialStream(t, client, host, "192.0.2.1:443")
			for range 3 {
				s.strayFromClient(t)
			}
			if err := s.say(); err != nil {
				t.Fatal(err)
			}
			if n := connections(b.live(t, host), mapping); n != 1 {
				t.Errorf("%s: %d connections were counted, one was made", mapping, n)
			}
		}
		if seen := host.Run("nft", "list", "table", "inet", "seen"); !strings.Contains(seen, "packets 12 ") {
			t.Errorf("the segments test nothing:\n%s", seen)
		}
	})
}

// passInvalid takes away what drops invalid segments.
func (b backend) passInvalid(h *lab.Host) {
	if b.name == "nft" {
		for _, chain := range []string{"guard_prerouting", "guard_output"} {
			h.Run("nft", "flush", "chain", "inet", "portmap", chain)
		}
		return
	}
	for _, tool := range b.tools {
		h.Run(tool, "-t", "mangle", "-F", "PORTMAP-INVALID")
		h.Run(tool, "-t", "mangle", "-F", "PORTMAP-TARGET")
	}
}

func strays() map[string]func(testing.TB, *stream) {
	return map[string]func(testing.TB, *stream){
		"client's": func(t testing.TB, s *stream) { s.strayFromClient(t) },
		"server's": func(t testing.TB, s *stream) { s.strayFromServer(t, 8443) },
	}
}

// What is not mapped is left to its server, invalid or not: other ports, other addresses, other networks.
func TestInvalidSegmentsOfOthersPass(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Address("eth0", "192.0.2.11/24")
		b.add(t, host, "192.0.2.1:443:8443", "81:8081/udp", "82:8082 --source 10.0.0.0/8", "83:8083 --interface eth1")
		host.Run("nft", `table inet seen {
			chain input { type filter hook input priority 0; ct state invalid tcp dport { 81, 82, 83, 443 } counter; }
			chain postrouting { type filter hook postrouting priority 0; ct state invalid tcp sport 8081 counter; }
		}`)
		from, to := netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")
		// A segment that is no connection's and has no flag at all is invalid (nf_conntrack_proto_tcp.c, tcp_error).
		nothing := func(h *lab.Host, from netip.Addr, sport uint16, to netip.Addr, dport uint16) {
			sendSegment(t, h, netip.AddrPortFrom(from, sport), netip.AddrPortFrom(to, dport), 0, 1, 1)
		}
		nothing(client, from, 5000, netip.MustParseAddr("192.0.2.11"), 443)
		nothing(client, from, 5000, to, 81)
		nothing(client, from, 5000, to, 82)
		nothing(client, from, 5000, to, 83)
		nothing(client, from, 5000, to, 443) // ours
		nothing(host, to, 8081, from, 5000)
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			seen := host.Run("nft", "list", "table", "inet", "seen")
			if strings.Contains(seen, "counter packets 4 ") && strings.Contains(seen, "sport 8081 counter packets 1 ") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("want 4 and 1 to pass:\n%s", seen)
			}
		}
	})
}

// What the guards cost: new connections and requests a second through a mapping, with them and without.
func BenchmarkGuards(b *testing.B) {
	k := backends()[0]
	for _, guarded := range []bool{true, false} {
		host, client := k.barePair(b)
		client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
		host.Echo("tcp", "192.0.2.1:8443")
		host.Chat("192.0.2.1:8080")
		k.add(b, host, "443:8443", "80:8080")
		name := "guarded"
		if !guarded {
			name = "unguarded"
			for _, chain := range []string{"guard_prerouting", "guard_output"} {
				host.Run("nft", "flush", "chain", "inet", "portmap", chain)
				host.Run("nft", "delete", "chain", "inet", "portmap", chain)
			}
		}
		b.Run("new connections, "+name, func(b *testing.B) {
			client.Do(func() {
				for b.Loop() {
					if err := connectOnce("192.0.2.1:443"); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
		b.Run("requests, "+name, func(b *testing.B) {
			talk := client.Talk("192.0.2.1:80")
			for b.Loop() {
				if err := talk.Say(5 * time.Second); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
