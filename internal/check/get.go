package check

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"portmap/internal/finding"
	"portmap/internal/probe"
	"portmap/internal/servers"
)

// getWithin bounds how long a server may take to answer a GET.
const getWithin = 2 * time.Second

// leaks gets the first page of a web server over the mapping, and tells if it names its own port. What does not speak
// HTTP/1.1 leaks nothing that can be seen so.
func (w *Way) leaks(ctx context.Context, client *probe.Client, found *servers.Found) []finding.Finding {
	scheme := map[uint16]string{443: "https", 80: "http"}[w.To.Port()]
	behind := found.Of(w.Mapping)
	if scheme == "" || len(behind) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, getWithin)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return client.Dial(ctx, network, w.To)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, // only a port is looked for
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+w.To.Addr().String()+"/", nil)
	if w.To.Addr().Is6() {
		request, err = http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://["+w.To.Addr().String()+"]/", nil)
	}
	if err != nil {
		return nil
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	return portLeaked(w.Mapping, response.Header, behind[0])
}
