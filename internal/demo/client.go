package demo

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// beClient is the other host: it fetches each URL that comes in and answers with a line.
func beClient(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for first := true; lines.Scan(); first = false {
		if first { // the veth pair is there now
			if err := newNetwork(); err != nil {
				return err
			}
			if err := bringUp(clientIPv4+"/24", clientIPv6+"/64"); err != nil {
				return err
			}
		}
		fmt.Fprintln(out, fetch(lines.Text()))
	}
	return lines.Err()
}

// fetch returns what a person would see of a request, as one line: over HTTP/2, which a release is compiled without.
func fetch(url string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	certificate, err := os.ReadFile(certFile)
	if err != nil {
		return err.Error()
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	transport := &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return reason(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %d: %s", response.Proto, response.StatusCode, body)
}
