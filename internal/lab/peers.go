package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

//go:embed http2server.js
var http2Server []byte

// startWithin bounds the wait for Node.js.
const startWithin = 20 * time.Second

// NodeHTTP2 runs Node.js' HTTP/2 server on the host, as the user nobody, on address and port until the end of the test.
// It speaks only HTTP/2, and answers with the client's address and its own port.
func (h *Host) NodeHTTP2(address, port string) {
	h.t.Helper()
	Need(h.t, "node")
	dir := openDir(h.t)
	WriteNodeHTTP2(h.t, dir)
	cmd := Unprivileged(exec.Command("node", filepath.Join(dir, "server.js"), dir, address, port))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	h.must("node", err)
	h.Start(cmd)
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line
	}()
	select {
	case line := <-ready:
		if line != "ready\n" {
			h.t.Fatalf("lab: node said %q", line)
		}
	case <-time.After(startWithin):
		h.t.Fatalf("lab: node did not listen within %s", startWithin)
	}
}

// WriteNodeHTTP2 writes the files of [Host.NodeHTTP2] into dir: server.js, cert.pem and key.pem. `node server.js DIR
// ADDRESS PORT` prints "ready" when it listens.
func WriteNodeHTTP2(t testing.TB, dir string) {
	t.Helper()
	cert, key := certificate(t)
	for name, content := range map[string][]byte{"server.js": http2Server, "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Curl fetches a URL over HTTP/2 and returns the body, or curl's error. The first word is the HTTP version in use.
func (h *Host) Curl(url string) string {
	h.t.Helper()
	Need(h.t, "curl")
	r := h.Try("curl", "--http2", "-k", "-sS", "-g", "--max-time", "5", "-w", "%{stderr}HTTP/%{http_version}", url)
	return strings.TrimSpace(r.Err + " " + r.Out)
}

// openDir returns a folder that other users can read.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func certificate(t testing.TB) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

const quicProtocol = "portmap-test"

// QUICServer listens for QUIC on the host until the end of the test. It answers each stream with the client's address.
func (h *Host) QUICServer(address string) {
	h.t.Helper()
	cert, key := certificate(h.t)
	pair, err := tls.X509KeyPair(cert, key)
	h.must("certificate", err)
	var conn net.PacketConn
	h.Do(func() { conn, err = net.ListenPacket("udp", address) })
	h.must("listen on "+address, err)
	transport := &quic.Transport{Conn: conn}
	listener,
		err := transport.Listen(&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{quicProtocol}},
		nil)
	h.must("quic", err)
	h.t.Cleanup(func() { listener.Close(); transport.Close(); conn.Close() })
	go func() {
		for {
			c, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			go answerQUIC(c)
		}
	}()
}

func answerQUIC(c *quic.Conn) {
	for {
		stream, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, stream)
		_, _ = io.WriteString(stream, plain(c.RemoteAddr()).Addr().String())
		_ = stream.Close()
	}
}

// QUICClient is a connection to a [Host.QUICServer].
type QUICClient struct {
	t    testing.TB
	conn *quic.Conn
}

// DialQUIC connects to a QUIC server.
func (h *Host) DialQUIC(address string) *QUICClient {
	h.t.Helper()
	to, err := net.ResolveUDPAddr("udp", address)
	h.must("parse "+address, err)
	var conn net.PacketConn
	h.Do(func() { conn, err = net.ListenPacket("udp", ":0") })
	h.must("open a socket", err)
	transport := &quic.Transport{Conn: conn}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := transport.Dial(ctx, to, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}}, nil)
	h.must("connect to "+address, err)
	h.t.Cleanup(func() { _ = c.CloseWithError(0, ""); transport.Close(); conn.Close() })
	return &QUICClient{h.t, c}
}

// Ask opens a stream and returns the answer.
func (q *QUICClient) Ask() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stream, err := q.conn.OpenStreamSync(ctx)
	if err != nil {
		return "", err
	}
	_ = stream.SetDeadline(time.Now().Add(answerWithin))
	_ = stream.Close()
	answer, err := io.ReadAll(stream)
	return string(bytes.TrimSpace(answer)), err
}
