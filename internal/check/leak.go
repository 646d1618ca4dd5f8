package check

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/rules"
	"portmap/rules/facts"
)

// portLeaked tells of an answer that sends clients to the server's own port, past the mapping. header is that of an
// answer which came through the mapping.
func portLeaked(m rules.Mapping, header http.Header, server servers.Server) (advice []finding.Finding) {
	for _, f := range [...]struct {
		name string
		port func(string) string
	}{{"Location", locationPort}, {"Alt-Svc", servicePort}} {
		for _, value := range header.Values(f.name) {
			port := f.port(value)
			listen, leaked := listenOf(m, port)
			if !leaked {
				continue
			}
			advice = append(advice, finding.Finding{
				ID: finding.PortLeaked, Mapping: m,
				Text: fmt.Sprintf("%s sends clients to its own port %s, past the mapping of port %d: %s",
					nameOf(server), port, listen, cureOf(server.Command, f.name, listen)),
				Seen: f.name + ": " + rules.Printable(value),
			})
			break
		}
	}
	return advice
}

func nameOf(s servers.Server) string {
	if s.PID == 0 {
		return "the server"
	}
	return s.Who()
}

// listenOf returns the listen port behind which a server has a port, unless clients may use that port itself.
func listenOf(m rules.Mapping, port string) (listen uint16, leaked bool) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || m.ListenPorts().Contains(uint16(n)) {
		return 0, false
	}
	for _, ports := range facts.PortsHere(&m) {
		if ports.Contains(uint16(n)) {
			return m.ListenPorts().First + uint16(n) - ports.First, true
		}
	}
	return 0, false
}

func locationPort(value string) string {
	u, err := url.Parse(value)
	if err != nil {
		return ""
	}
	return u.Port()
}

// servicePort returns the port of the first alternative at the same host (RFC 7838, section 3): `h3=":8443"; ma=3600`.
func servicePort(value string) string {
	_, rest, _ := strings.Cut(value, `="`)
	authority, _, _ := strings.Cut(rest, `"`)
	host, port, _ := strings.Cut(authority, ":")
	if host != "" {
		return ""
	}
	return port
}

// cureOf says where a server is told which port its clients use.
func cureOf(command, header string, listen uint16) string {
	service := fmt.Sprintf(`h3=":%d"; ma=86400`, listen)
	type cure struct{ location, service string }
	known := map[string]cure{
		"nginx": {"set `absolute_redirect off;` or `port_in_redirect off;`",
			fmt.Sprintf("set `add_header Alt-Svc '%s';`", service)},
		"caddy": {"set `https_port` in the global options, and write no port behind the names of the sites",
			fmt.Sprintf("set `header Alt-Svc %q` in the site", service)},
		"traefik": {fmt.Sprintf("set `http.redirections.entryPoint.to: \":%d\"` at the entry point that redirects",
			listen),
			fmt.Sprintf("set `http3.advertisedPort: %d` at the entry point", listen)},
		"node": {"redirect to a path, or make URLs from the request's Host header (in Express `req.get('host')`)",
			fmt.Sprintf("set the header Alt-Svc to `%s`", service)},
	}
	c, ok := known[command]
	if !ok {
		c = cure{"let it redirect to a path, or make URLs from the request's Host header",
			fmt.Sprintf("let it name port %d (with quic-go: `http3.Server{Port: %d}`)", listen, listen)}
	}
	if header == "Location" {
		return c.location
	}
	return c.service
}
