package demo

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const transcript = `All of this happens in a throw-away network; nothing on this machine is touched.

A server with HTTPS on port 8443, run without privileges. Port 443 is not for it:
$ webserver --port 443
permission denied
$ webserver --port 8443 &

Nobody answers on the public port yet:
$ curl -k https://192.0.2.1/       # from another host
connection refused

$ portmap add 443:8443

Now it does, for another host, which the server sees under its own address:
$ curl -k https://192.0.2.1/       # from another host
HTTP/1.1 200: hello, 192.0.2.2
$ curl -k https://[2001:db8::1]/   # from another host
HTTP/1.1 200: hello, 2001:db8::2

... and on the host itself:
$ curl -k https://127.0.0.1/
HTTP/1.1 200: hello, 127.0.0.1
$ curl -k https://[::1]/
HTTP/1.1 200: hello, ::1

$ portmap list
443:8443/tcp  active
$ portmap remove 443
$ curl -k https://192.0.2.1/       # from another host
connection refused
$ curl -k https://[2001:db8::1]/   # from another host
connection refused

It works on this machine. For your own server: sudo portmap add 443:8443
`

func TestTranscript(t *testing.T) {
	for _, user := range users() {
		t.Run(user.name, func(t *testing.T) {
			r, code := demonstrate(t, user.attr(), "", "demo")
			if code != 0 || r.out.String() != transcript || r.err.Len() > 0 {
				t.Errorf("exit %d, standard error %q, and this transcript:\n%s", code, &r.err, &r.out)
			}
		})
	}
}

// What does not go as it should must show, and must fail.
func TestFaults(t *testing.T) {
	const bad = "portmap: not all of it went as it should\n"
	for _, test := range []struct{ fault, shown, err string }{
		{"add fails", "portmap: add 443:8443: this kernel has no nf_tables", "portmap: portmap add 443:8443 failed\n"},
		{"add does nothing", "   ... which should have been: 200: hello, 127.0.0.1", bad},
		{"add masquerades", "HTTP/1.1 200: hello, 192.0.2.99", bad},
		{"list fails", "portmap: list: this kernel has no nf_tables", "portmap: portmap list failed\n"},
		{"remove fails", "portmap: remove 443: this kernel has no nf_tables", "portmap: portmap remove 443 failed\n"},
		{"remove does nothing", "   ... which should have been: connection refused", bad},
	} {
		t.Run(test.fault, func(t *testing.T) {
			r, code := demonstrate(t, users()[0].attr(), test.fault, "demo")
			if shown := lines(r.out.String()); code != 1 || r.err.String() != test.err ||
				!slices.Contains(shown, test.shown) {
				t.Errorf("exit %d, want 1; standard error %q, want %q; and in this transcript %q:\n%s", code, &r.err,
					test.err, test.shown, &r.out)
			}
			if strings.Contains(r.out.String(), "It works") {
				t.Errorf("a verdict that is not true:\n%s", &r.out)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	const sentence = "portmap: this system does not let ordinary users make a network of their own"
	const remedy = "; try: sudo portmap demo\n"
	for _, test := range []struct {
		how  string
		cap  uintptr
		want string
	}{
		{"without-namespaces", unix.CAP_SYS_RESOURCE, sentence + " (user.max_user_namespaces=0)" + remedy},
		{"without-mounts", unix.CAP_SYS_ADMIN, sentence + remedy},
	} {
		t.Run(test.how, func(t *testing.T) {
			r, code := demonstrate(t, sandboxed(test.cap), "", test.how)
			if code != 3 || r.out.Len() > 0 || r.err.String() != test.want {
				t.Errorf("exit %d, want 3; standard output %q; standard error %q, want %q", code, &r.out, &r.err,
					test.want)
			}
		})
	}
}

// Whoever finds the hidden command must not get the mounts and addresses of the demonstration.
func TestStageByHand(t *testing.T) {
	for _, stage := range []string{stageHost, stageGuards, stageServer, stageSquatter, stageClient, "", "router"} {
		r, code := demonstrate(t, users()[0].attr(), "", "demo-stage", stage)
		if want := "portmap: " + errNotByRun.Error() + "\n"; code != 1 || r.err.String() != want {
			t.Errorf("demo-stage %q: exit %d, standard error %q, want %q", stage, code, &r.err, want)
		}
	}
}
