package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const serverName = "webserver"

// serve is the server: HTTPS with HTTP/2 on 8443, for every address. First it says what happens when it asks for 443.
func serve(out io.Writer) error {
	_ = os.WriteFile("/proc/self/comm", []byte(serverName), 0) // a name for `portmap list`
	if public, err := net.Listen("tcp", ":443"); err == nil {
		public.Close()
		fmt.Fprintln(out, "given: that is not what an unprivileged server should see")
	} else {
		fmt.Fprintln(out, errno(err))
	}
	listener, err := net.Listen("tcp", ":8443")
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "hello, %s", client)
		}),
	}
	return server.ServeTLS(listener, certFile, keyFile)
}

// errno returns the bare reason of a network error: "permission denied".
func errno(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}

// writeCertificate makes the certificate for this one run.
func writeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "portmap demo"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.ParseIP(hostIPv4), net.ParseIP(hostIPv6), net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert},
		keyFile:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(name, nobody, nobody); err != nil {
				return err
			}
		}
	}
	return nil
}

// nobody is the overflow uid and gid (proc(5), /proc/sys/kernel/overflowuid).
const nobody = 65534

// unprivileged is who the server runs as: nobody, or where there is no root this user without its capabilities, which the
// caller's thread gives up for it.
func unprivileged() (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		return attr, nil
	}
	return attr, unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}
