package integration

import (
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// The users of the tests: the one whose server may answer, and one whose may not. They need no account.
const (
	owner    = 1000
	squatter = 1234
)

// silence is how long a client waits for what must not come. It is short, so that a test can ask often.
const silence = 300 * time.Millisecond

// needUsers skips a test where this process has only one user: in a user namespace without root.
func needUsers(t testing.TB) {
	t.Helper()
	if lab.UnprivilegedUID() == 0 {
		t.Skip("needs root: a user namespace has one user only")
	}
}

// everywhere is port 8443 of every address of a host, IPv4 and IPv6, for a server.
const everywhere = "[::]:8443"

// askAll asks on a port in all ways at once, over TCP and UDP.
func askAll(host, client *lab.Host, port int, within time.Duration) map[string]lab.Answer {
	var mutex sync.Mutex
	var wait sync.WaitGroup
	answers := map[string]lab.Answer{}
	for _, w := range ways(host, client) {
		for _, network := range []string{"tcp", "udp"} {
			wait.Add(1)
			go func() {
				defer wait.Done()
				a, _ := w.from.AskWithin(within, network, "", fmt.Sprintf("%s:%d", w.address, port))
				mutex.Lock()
				defer mutex.Unlock()
				answers[network+" "+w.name] = a
			}()
		}
	}
	wait.Wait()
	return answers
}

// A server of the owner or of root answers, one of another user does not get a byte out, over TCP and UDP, IPv4 and
// IPv6, to other hosts and to this one, whatever else the mapping asks for.
func TestOnlyTheOwnerAnswers(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		for _, mapping := range []string{
			"443:8443/tcp,udp --owner 1000", "443:8443/tcp,udp --owner 1000 --hide",
			"440-450:8440-8450/tcp,udp --owner 1000",
		} {
			added := b.add(t, host, mapping)
			for _, uid := range []int{owner, 0, squatter} {
				end := host.EchoAs(uid, "tcp", everywhere)
				end2 := host.EchoAs(uid, "udp", everywhere)
				within := 2 * time.Second
				if uid == squatter {
					within = silence
				}
				for way, a := range askAll(host, client, 443, within) {
					if answered := a.Server.IsValid(); answered != (uid != squatter) || uid == squatter && !a.TimedOut {
						t.Errorf("%s, %s: a server of user %d: %+v", mapping, way, uid, a)
					}
				}
				end()
				end2()
			}
			b.change(t, host, rules.Change{Remove: added})
		}
	})
}

// Whoever takes the port while the owner's server is down gets nothing out, by any kind of socket. What is open goes
// on, and new clients are served when the server is back.
func TestPortIsTakenWhileTheServerIsDown(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		b.add(t, host, "443:8443/tcp,udp --owner 1000")
		end := host.ChatAs(owner, "192.0.2.1:8443")
		talk := client.Talk("192.0.2.1:443")
		talk.Must(t, "to the owner's server")
		end()

		for kind, squat := range map[string]func() (io.Closer, error){
			"TCP":           func() (io.Closer, error) { return net.Listen("tcp4", "0.0.0.0:8443") },
			"MPTCP":         listenMPTCP,
			"specific TCP":  func() (io.Closer, error) { return net.Listen("tcp4", "192.0.2.1:8443") },
			"TCP over IPv6": func() (io.Closer, error) { return net.Listen("tcp", "[::]:8443") },
		} {
			var listener io.Closer
			var err error
			host.As(squatter, func() { listener, err = squat() })
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if a, err := client.AskWithin(silence, "tcp", "", "192.0.2.1:443"); err != nil || !a.TimedOut {
				t.Errorf("%s: %+v, %v; want silence", kind, a, err)
			}
			talk.Must(t, "while another user has the port")
			listener.Close()
		}
		host.EchoAs(owner, "tcp", "192.0.2.1:8443")
		if a, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || !a.Server.IsValid() {
			t.Errorf("the server is back: %+v, %v", a, err)
		}
	})
}

func listenMPTCP() (io.Closer, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	return config.Listen(context.Background(), "tcp4", "0.0.0.0:8443")
}

// Another user's datagrams do not get to a client of the mapping: neither those that nobody asked for, nor those of a
// raw socket.
func TestDatagramsOfOthers(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		b.add(t, host, "443:8443/udp --owner 1000")
		end := host.EchoAs(owner, "udp", "0.0.0.0:8443")
		flow := client.Flow("udp", "192.0.2.1:443")
		if a, err := flow.Ask(); err != nil || !a.Server.IsValid() {
			t.Fatalf("the owner's server: %+v, %v", a, err)
		}
		end()
		to := flow.Local()
		send := func(kind string, send func() error) {
			var err error
			host.As(squatter, func() { err = send() })
			if err != nil && !errors.Is(err, unix.EPERM) { // which says that the packet was dropped
				t.Fatalf("%s: %v", kind, err)
			}
			if line, err := flow.Hear(silence / 3); err == nil {
				t.Errorf("%s: the client got %q", kind, line)
			}
		}
		send("a socket on the port", func() error {
			conn, err := net.ListenPacket("udp4", "192.0.2.1:8443")
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.WriteTo([]byte("squatter\n"), net.UDPAddrFromAddrPort(to))
			return err
		})
		send("a raw socket", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			datagram := endian.BigEndian.AppendUint16(nil, 8443) // RFC 768; without a checksum
			datagram = endian.BigEndian.AppendUint16(datagram, to.Port())
			datagram = append(endian.BigEndian.AppendUint16(datagram, 8+2), 0, 0, 'x', '\n')
			return unix.Sendto(fd, datagram, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
		})
		host.EchoAs(owner, "udp", "0.0.0.0:8443")
		if a, err := flow.Ask(); err != nil || !a.Server.IsValid() {
			t.Errorf("the owner's server, again: %+v, %v", a, err)
		}
	})
}

// Who changes the rules of the guards, or the uid that they name, is seen, and a Reset makes them again.
func TestGuardsAreHealed(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		mappings := b.add(t, host, "443:8443/tcp,udp --owner 1000 --hide", "192.0.2.1:80:8080 --owner 0",
			"81:8081 --interface eth0 --hide", "192.0.2.1:82:8082 --interface eth0 --hide")
		sound := b.live(t, host)
		if sound.Damaged != "" || len(sound.Mappings) != len(mappings) {
			t.Fatalf("%+v", sound)
		}
		for _, line := range b.guardBreakers() {
			host.Run(line[0], line[1:]...)
			if live := b.live(t, host); live.Damaged == "" {
				t.Errorf("after %v nothing is damaged", line)
			}
			b.change(t, host, rules.Change{Reset: true, Remove: mappings, Add: mappings})
			if live := b.live(t, host); live.Damaged != "" || len(live.Mappings) != len(mappings) {
				t.Fatalf("after %v and a reset: %+v", line, live)
			}
		}
		b.change(t, host, rules.Change{Remove: mappings[1:]})
		b.change(t, host, rules.Change{Remove: mappings[:1]})
		if live := b.live(t, host); live.Damaged != "" || len(live.Mappings) > 0 {
			t.Errorf("after the removal: %+v", live)
		}
	})
}

// guardBreakers are commands that each take away or change a part of the guards of TestGuardsAreHealed.
func (b backend) guardBreakers() [][]string {
	if b.name == "nft" {
		delete := func(what string) []string { return []string{"nft", "delete element inet portmap " + what} }
		return [][]string{
			delete("owners { ipv4 . tcp . 443 . 8443 . 1000 }"), delete("owned { ipv6 . udp . 443 . 8443 }"),
			delete("owned4 { 192.0.2.1 . tcp . 80 . 8080 }"), delete("hidden { ipv4 . tcp . 8443 }"),
			delete(`hidden_on { "eth0" . ipv6 . tcp . 8081 }`),
			delete(`hidden_on4 { "eth0" . 192.0.2.1 . tcp . 8082 }`),
			{"nft", "add element inet portmap owners { ipv4 . tcp . 443 . 8443 . 1234 }"},
			{"nft", "flush chain inet portmap refuse"}, {"nft", "flush chain inet portmap guard_input"},
		}
	}
	v4 := b.tools[0]
	return [][]string{
		{v4, "-t", "mangle", "-D", "PORTMAP-OWNER", "1"}, {v4, "-t", "filter", "-D", "PORTMAP-HIDE", "1"},
		{v4, "-t", "filter", "-F", "PORTMAP-REFUSE"}, {v4, "-t", "filter", "-D", "INPUT", "1"},
		{v4, "-t", "mangle", "-F", "OUTPUT"},
		{v4, "-t", "mangle", "-R", "PORTMAP-OWNER", "1", "-p", "tcp", "-m", "tcp", "--sport", "8443", "-m", "conntrack",
			"--ctorigdstport", "443", "-m", "owner", "!", "--uid-owner", "1234", "-m", "comment", "--comment",
			"443:8443/tcp,udp --owner 1000 --hide", "-j", "DROP"},
	}
}
