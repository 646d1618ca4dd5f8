package demo

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"portmap/internal/httpget"
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

// fetch returns what a person would see of a request, as one line.
func fetch(page string, within time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	response, err := get(ctx, page)
	var failed net.Error
	switch {
	case ctx.Err() != nil && err != nil, errors.As(err, &failed) && failed.Timeout():
		return noAnswer // the time of a connection can be over a moment before that of the context
	case err != nil:
		return reason(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s %d: %s", response.Proto, response.StatusCode, body)
}

// get connects to where a URL names, and trusts the demonstration's certificate alone.
func get(ctx context.Context, page string) (*http.Response, error) {
	certificate, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	where, err := url.Parse(page)
	if err != nil {
		return nil, err
	}
	port := where.Port()
	if port == "" {
		port = "443"
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(where.Hostname(), port))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: trusted, ServerName: where.Hostname(), MinVersion: tls.VersionTLS12}
	return httpget.Get(ctx, conn, config, where.Host)
}
