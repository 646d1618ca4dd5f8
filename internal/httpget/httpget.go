// Package httpget gets one page over a connection. The client of net/http does more, and makes the program larger by
// the tables of all names that can be written in Unicode.
package httpget

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// mostRead is how much of an answer is read: who answers may be no friend.
const mostRead = 256 << 10

// Get sends a GET for the first page of a host, and returns the answer. With a configuration it speaks TLS. It uses
// HTTP/1.1, and closes nothing: the answer's body is read from conn.
func Get(ctx context.Context, conn net.Conn, config *tls.Config, host string) (*http.Response, error) {
	if deadline, limited := ctx.Deadline(); limited {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if config != nil {
		over := tls.Client(conn, config)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = over
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(io.LimitReader(conn, mostRead)), nil)
}
