package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"portmap/internal/finding"
	"portmap/internal/httpget"
	"portmap/internal/probe"
	"portmap/internal/servers"
	"portmap/rules"
)

// getWithin bounds how long a server may take to answer a GET.
const getWithin = 500 * time.Millisecond

// leaks gets the first page of a web server over the mapping, and tells if it names its own port. What does not speak
// HTTP/1.1 leaks nothing that can be seen so.
func (w *Way) leaks(ctx context.Context, client *probe.Client, all []rules.Mapping,
	found *servers.Found) []finding.Finding {
	behind := found.Of(w.Mapping)
	var config *tls.Config
	switch port := w.To.Port(); {
	case len(behind) == 0 || port != 80 && port != 443:
		return nil
	case port == 443:
		config = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // only a port is looked for
	}
	ctx, cancel := context.WithTimeout(ctx, getWithin)
	defer cancel()
	conn, err := client.Dial(ctx, "tcp", w.To)
	if err != nil {
		return nil
	}
	defer func() {
		_ = conn.Close()
		if from, known := conn.LocalAddr().(*net.TCPAddr); known {
			_, _ = probe.Entries([]probe.Answer{{Question: w.question(), From: from.AddrPort()}}) // which forgets it
		}
	}()
	response, err := httpget.Get(ctx, conn, config, strings.TrimSuffix(w.To.String(), fmt.Sprintf(":%d", w.To.Port())))
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	return portLeaked(w.Mapping, all, response.Header, behind[0])
}
