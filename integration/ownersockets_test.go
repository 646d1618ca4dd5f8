package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// beside listens on port 8443 as a user beside others (SO_REUSEPORT), and answers everybody with a name.
func beside(t *testing.T, host *lab.Host, uid int, network, name string) error {
	t.Helper()
	listening := make(chan error)
	go host.As(uid, func() {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			_ = raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
			return err
		}}
		if network == "udp" {
			conn, err := config.ListenPacket(context.Background(), "udp4", "0.0.0.0:8443")
			if listening <- err; err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			for buffer := make([]byte, 100); ; {
				_, from, err := conn.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = conn.WriteTo([]byte(name), from)
			}
		}
		listener, err := config.Listen(context.Background(), "tcp4", "0.0.0.0:8443")
		if listening <- err; err != nil {
			return
		}
		t.Cleanup(func() { listener.Close() })
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, name)
			conn.Close()
		}
	})
	return <-listening
}

// nameAt asks a server of beside for its name.
func nameAt(t *testing.T, client *lab.Host, network, address string) string {
	t.Helper()
	buffer := make([]byte, 100)
	n := 0
	client.Do(func() {
		conn, err := net.DialTimeout(network, address, 2*time.Second)
		if err == nil {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
			if network == "udp" {
				_, err = conn.Write([]byte("?"))
			}
		}
		if err == nil {
			n, err = conn.Read(buffer)
		}
		if err != nil {
			t.Errorf("%s: %v", network, err)
		}
	})
	return string(buffer[:n])
}

// Several sockets of the owner on one port share its clients. Another user cannot join them: the kernel refuses it
// (inet_connection_sock.c, inet_bind_conflict; udp.c, inet_rcv_saddr_equal).
func TestSeveralSocketsOnTheTargetPort(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		b.add(t, host, "443:8443/tcp,udp --owner 1000")
		for _, network := range []string{"tcp", "udp"} {
			for _, name := range []string{"first", "second"} {
				if err := beside(t, host, owner, network, name); err != nil {
					t.Fatal(err)
				}
			}
			if err := beside(t, host, squatter, network, "squatter"); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("%s: another user listens beside: %v", network, err)
			}
			heard := map[string]int{}
			for range 30 {
				heard[nameAt(t, client, network, "192.0.2.1:443")]++
			}
			if heard["first"] == 0 || heard["second"] == 0 || len(heard) != 2 {
				t.Errorf("%s: answers came from %v", network, heard)
			}
		}
	})
}

// The owner of a server on loopback is looked at like any other.
func TestOwnerOfALoopbackTarget(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Run("sysctl", "-qw", localnet+"=1")
		for _, mapping := range []string{"443:127.0.0.1:8443/tcp,udp --owner 1000",
			"192.0.2.1:443:127.0.0.1:8443/tcp,udp --owner 1000 --hide"} {
			b.change(t, host, rules.Change{Reset: true, Add: lab.Mappings(t, mapping)})
			for _, uid := range []int{owner, squatter} {
				for _, network := range []string{"tcp", "udp"} {
					end := host.EchoAs(uid, network, "127.0.0.1:8443")
					for _, from := range []*lab.Host{client, host} {
						within := 2 * time.Second
						if uid == squatter {
							within = silence / 3
						}
						a, err := from.AskWithin(within, network, "", "192.0.2.1:443")
						if err != nil || a.Server.IsValid() != (uid == owner) || a.TimedOut != (uid == squatter) {
							t.Errorf("%s, %s from %s: a server of user %d: %+v, %v", mapping, network, from.Name, uid,
								a, err)
						}
					}
					end()
				}
			}
		}
	})
}

// The uid of a user changes. What is live names the old one: list says so, apply and watch put the new one in.
func TestOwnerGetsAnotherUID(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		p := b.command(t, host)
		users := filepath.Join(t.TempDir(), "passwd")
		is := func(uid string) {
			write(t, users, "root:x:0:0::/:/bin/sh\nshop:x:"+uid+":1::/:/bin/sh\n")
		}
		is("1000")
		p.users = users
		p.run("add", "443:8443", "--owner", "shop")
		host.EchoAs(squatter, "tcp", "192.0.2.1:8443")
		answers := func() bool {
			a, err := client.AskWithin(silence, "tcp", "", "192.0.2.1:443")
			return err == nil && a.Server.IsValid()
		}
		if answers() {
			t.Error("a server of user 1234 answers; 1000 should")
		}
		is("1234")
		if r := p.try("list"); !strings.Contains(r.Out+r.Err, "damaged") {
			t.Errorf("list does not see that the uid is another: %+v", r)
		}
		if r := p.try("diff"); r.Code != 1 {
			t.Errorf("diff: %+v", r)
		}
		p.run("apply")
		if !answers() {
			t.Error("after apply the owner does not answer")
		}
		w := p.watch()
		w.live(b, "443:8443/tcp --owner shop")
		is("1000")
		if err := os.Chtimes(p.file, time.Now(), time.Now()); err != nil { // the file of users is not watched
			t.Fatal(err)
		}
		w.within("the new uid", func() bool { return !answers() })
		if r := p.try("diff"); r.Code != 0 {
			t.Errorf("diff: %+v", r)
		}
	})
}
