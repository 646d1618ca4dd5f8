package servers

import (
	"net"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"

	"golang.org/x/sys/unix"
)

// A server whose queue is full is told of, and not before.
func TestBacklogged(t *testing.T) {
	host := lab.New(t).Host("host")
	mapping := lab.Mappings(t, "443:8443/tcp,udp")[0]
	host.Echo("udp", "[::]:8443")
	var fd int
	host.Do(func() { // not by package net, which accepts as soon as it can and asks for a long queue
		var err error
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: 8443})
		}
		if err == nil {
			err = unix.Listen(fd, 2)
		}
		if err != nil {
			t.Error(err)
		}
	})
	defer func() { _ = unix.Close(fd) }()
	for waiting := range 3 {
		if got := Backlogged(mapping, find(t, host, mapping)); waiting < 2 && len(got) > 0 {
			t.Errorf("with %d waiting: %v", waiting, got)
		} else if waiting == 2 && (len(got) != 1 || got[0].ID != finding.SocketBacklog ||
			!strings.Contains(got[0].Text, "does not accept connections: 2 of 2 wait at 0.0.0.0:8443; ") ||
			!strings.HasSuffix(got[0].Seen, "8443: Recv-Q 2, Send-Q 2")) {
			t.Errorf("with %d waiting: %+v", waiting, got)
		}
		host.Do(func() {
			client, err := net.Dial("tcp", "127.0.0.1:8443")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { client.Close() })
		})
	}
}
