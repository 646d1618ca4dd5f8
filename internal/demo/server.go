package demo

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Names of the servers, as `portmap list` shows them.
const (
	serverName   = "webserver"
	squatterName = "squatter"
)

// serve is a server: HTTPS on 8443, for every address. First it says what happens when it asks for 443.
func serve(out io.Writer, name string) error {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	if public, err := net.Listen("tcp", ":443"); err == nil {
		public.Close()
		fmt.Fprintln(out, "given: that is not what an unprivileged server should see")
	} else {
		fmt.Fprintln(out, reason(err))
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

// reason returns the bare reason of a network error: "permission denied".
func reason(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}
