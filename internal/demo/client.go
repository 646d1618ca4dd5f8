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
	"strings"
	"time"
)

// answerLimit is how long a client waits for an answer that must come.
const answerLimit = 5 * time.Second

// beClient is the other host: it fetches each URL that comes in, after how long to wait, and answers with a line.
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
		limit, url, _ := strings.Cut(lines.Text(), " ")
		within, err := time.ParseDuration(limit)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, fetch(url, within))
	}
	return lines.Err()
}

// fetch returns what a person would see of a request, as one line: over HTTP/2, which a release is compiled without.
func fetch(url string, within time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), within)
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
	if err != nil && ctx.Err() != nil {
		return noAnswer
	}
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
