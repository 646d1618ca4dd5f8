package check

import (
	"net/http"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/servers"
)

// A server that names its own port is told of, with the setting that changes that.
func TestPortLeaked(t *testing.T) {
	all := lab.Mappings(t, "440-443:8440-8443/tcp,udp", "80:8080", "999:9999")
	m := all[0]
	for _, c := range []struct{ command, header, value, says string }{
		{"nginx", "Location", "https://h.example:8443/x/", "port 443: set `absolute_redirect off;`"},
		{"caddy", "Location", "https://[2001:db8::1]:8440/", "port 8440, past the mapping of port 440: set"},
		{"traefik", "Location", "https://h.example:8443/", "`http.redirections.entryPoint.to: \":443\"`"},
		{"traefik", "Alt-Svc", `h3=":8443"; ma=2592000`, "`http3.advertisedPort: 443`"},
		{"node", "Location", "//h.example:8443", "`req.get('host')`"},
		{"pi-web", "Alt-Svc", `h3=":8443"; ma=2592000,h3-29=":8443"; ma=2592000`, "`http3.Server{Port: 443}`"},
		{"nginx", "Alt-Svc", `h3=":8442"`, "`add_header Alt-Svc 'h3=\":442\"; ma=86400';`"},
		{"caddy", "Alt-Svc", `h3=":8443"`, `header Alt-Svc "h3=\":443\"; ma=86400"`},
		{"node", "Location", "http://h.example:8080/", "to port 8080, past the mapping of port 80: redirect"},
		{"nginx", "Location", "https://h.example:999/x/", ""},
		{"nginx", "Location", "https://h.example/x/", ""},
		{"nginx", "Location", "https://h.example:443/x/", ""},
		{"nginx", "Location", "https://h.example:9443/x/", ""},
		{"nginx", "Location", "/8443", ""},
		{"nginx", "Location", "https://h.example:x/", ""},
		{"nginx", "Alt-Svc", `h3=":443"; ma=2592000`, ""},
		{"nginx", "Alt-Svc", `h3="other.example:8443"`, ""},
		{"nginx", "Alt-Svc", "clear", ""},
	} {
		got := portLeaked(m, all, http.Header{c.header: {c.value}}, servers.Server{PID: 8, Command: c.command})
		if len(got) != min(len(c.says), 1) ||
			len(got) > 0 && (got[0].ID != finding.PortLeaked || !strings.Contains(got[0].Text, c.says) ||
				got[0].Seen != c.header+": "+c.value) {
			t.Errorf("%s, %s: %s: %+v, want %q", c.command, c.header, c.value, got, c.says)
		}
	}
}

// A mapping to other hosts, and no header at all, are no leak.
func TestNothingLeaked(t *testing.T) {
	for _, line := range []string{"443:10.0.0.5:8443", "8443:9443"} {
		m := lab.Mappings(t, line)[0]
		header := http.Header{"Location": {"https://h:8443/"}}
		if got := portLeaked(m, lab.Mappings(t, line), header, servers.Server{}); len(got) > 0 {
			t.Errorf("%s: %v", line, got)
		}
	}
}
