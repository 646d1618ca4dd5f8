package demo

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	beforeGuards = `All of this happens in a throw-away network; nothing on this machine is touched.

A server with HTTPS on port 8443, run without privileges. Port 443 is not for it:
$ webserver --port 443
permission denied
$ webserver --port 8443 &
`
	guarded = `$ curl -k https://192.0.2.1/             # from another host
HTTP/1.1 200: hello, 192.0.2.2
$ curl -k https://[2001:db8::1]/         # from another host
HTTP/1.1 200: hello, 2001:db8::2
$ curl -k https://192.0.2.1:8443/        # from another host
connection refused
$ curl -k https://[2001:db8::1]:8443/    # from another host
connection refused
$ curl -k https://127.0.0.1:8443/
HTTP/1.1 200: hello, 127.0.0.1
`
	muted = `
It cannot send a byte through the mapping:
$ curl -k -m 0.3 https://192.0.2.1/      # from another host
no answer
$ curl -k -m 0.3 https://[2001:db8::1]/  # from another host
no answer
$ portmap list
443:8443/tcp  blocked  0
`
	afterGuards = `
$ portmap remove 443
$ curl -k https://192.0.2.1:8443/        # from another host
HTTP/1.1 200: hello, 192.0.2.2

It works on this machine. For your own server: sudo portmap add 443:8443 --owner USER --hide
`
	guardsOfTwo = beforeGuards + `
Only user 65534 may answer on 443, and other hosts do not get to 8443:
$ portmap add 443:8443 --owner 65534 --hide
` + guarded + `
The server stops, and another user takes its port:
$ kill %%
$ squatter --port 8443 &   # user 65533
` + muted + `
The squatter ends, and the server is back:
$ kill %%
$ webserver --port 8443 &   # user 65534
$ curl -k https://192.0.2.1/             # from another host
HTTP/1.1 200: hello, 192.0.2.2
$ curl -k https://[2001:db8::1]/         # from another host
HTTP/1.1 200: hello, 2001:db8::2
` + afterGuards
	guardsOfOne = beforeGuards + `
There is only one user here, OWNER. To a mapping of another one the server is a squatter:
$ portmap add 443:8443 --owner OTHER --hide
` + muted + `
Now it is the server of the right user. Other hosts do not get to 8443:
$ portmap add 443:8443 --owner OWNER --hide --replace
` + guarded + afterGuards
)

// guardsTranscript is what a kind of user sees: only root has a second user at hand.
func guardsTranscript(name string) string {
	if name == "root" {
		return guardsOfTwo
	}
	owner := strconv.Itoa(nobody)
	if name == "an ordinary user" && ordinary() == nil && os.Getuid() != 0 {
		owner = strconv.Itoa(os.Getuid())
	}
	return strings.NewReplacer("OWNER", owner, "OTHER", otherID(owner)).Replace(guardsOfOne)
}

func TestGuards(t *testing.T) {
	for _, user := range users() {
		t.Run(user.name, func(t *testing.T) {
			t.Parallel()
			r, code := demonstrate(t, user.attr(), "", "demo", string(Guards))
			if want := guardsTranscript(user.name); code != 0 || r.out.String() != want || r.err.Len() > 0 {
				t.Errorf("exit %d, standard error %q, and this transcript:\n%s\nwant\n%s", code, &r.err, &r.out, want)
			}
		})
	}
}

// A guard that does not hold must show, and must fail: with one user, and with two where there are two.
func TestFaultsOfGuards(t *testing.T) {
	const bad = "portmap: not all of it went as it should\n"
	const should = "   ... which should have been: "
	all := users()
	one, most := all[0], all[len(all)-1]
	for _, test := range []struct {
		user
		fault, want string
	}{
		{one, "add forgets the owner", noAnswer},
		{one, "add forgets to hide", "connection refused"},
		{most, "add does nothing", "connection refused"},
		{most, "add forgets the owner", noAnswer},
		{most, "list does nothing", "blocked"},
		{most, "remove does nothing", "200: hello, 192.0.2.2"},
	} {
		t.Run(test.fault+", "+test.name, func(t *testing.T) {
			t.Parallel()
			r, code := demonstrate(t, test.attr(), test.fault, "demo", string(Guards))
			if shown := lines(r.out.String()); code != 1 || r.err.String() != bad ||
				!slices.Contains(shown, should+test.want) || strings.Contains(r.out.String(), "It works") {
				t.Errorf("exit %d, want 1; standard error %q, want %q; and in this transcript %q:\n%s", code, &r.err,
					bad, should+test.want, &r.out)
			}
		})
	}
}
