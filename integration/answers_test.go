package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"portmap/internal/lab"

	"golang.org/x/sys/unix"
)

// A large answer that is closed at once arrives whole at a client that reads slowly: a closed socket has no owner, and
// what it still has to send must pass.
func TestAnswerOfAClosedSocketArrives(t *testing.T) {
	needUsers(t)
	for name, c := range map[string]struct {
		size int
		tls  bool
	}{"3 MB": {3 << 20, false}, "30 MB": {30 << 20, false}, "30 MB over TLS": {30 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			eachBackend(t, func(t *testing.T, b backend) {
				host, client := b.barePair(t)
				b.add(t, host, "443:8443 --owner 1000")
				closed := make(chan error, 1)
				serveOnce(t, host, owner, "0.0.0.0:8443", func(conn *net.TCPConn) {
					roomFor(conn, 2*c.size)
					closed <- answerAndClose(conn, c.size, c.tls)
				})
				var conn net.Conn
				var err error
				client.Do(func() { conn, err = (&net.Dialer{Timeout: 2 * time.Second}).Dial("tcp", "192.0.2.1:443") })
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.(*net.TCPConn).SetReadBuffer(1 << 16)
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				if c.tls {
					encrypted := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // of this test
					if err := encrypted.Handshake(); err != nil {
						t.Fatal(err)
					}
					conn = encrypted
				}
				if err := <-closed; err != nil {
					t.Fatal("the server: ", err)
				}
				time.Sleep(silence) // nearly all of it is still the server's
				if n, err := io.Copy(io.Discard, conn); n != int64(c.size) || err != nil {
					t.Errorf("%d of %d bytes arrived: %v", n, c.size, err)
				}
			})
		})
	}
}

// roomFor lets a socket take so much at once that the client has not read.
func roomFor(conn *net.TCPConn, size int) {
	raw, _ := conn.SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size)
	})
}

// answerAndClose says so many bytes, and closes.
func answerAndClose(conn net.Conn, size int, encrypted bool) error {
	if encrypted {
		certificate, err := certificate()
		if err != nil {
			return err
		}
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	}
	_, err := conn.Write(make([]byte, size))
	conn.Close()
	return err
}

// certificate makes one that nobody checks.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// serveOnce listens on a TCP address as a user, and serves one connection.
func serveOnce(t *testing.T, host *lab.Host, uid int, address string, serve func(*net.TCPConn)) {
	t.Helper()
	listening := make(chan error)
	go host.As(uid, func() {
		listener, err := net.Listen("tcp4", address)
		if listening <- err; err != nil {
			return
		}
		t.Cleanup(func() { listener.Close() })
		if conn, err := listener.Accept(); err == nil {
			serve(conn.(*net.TCPConn))
		}
	})
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
}
