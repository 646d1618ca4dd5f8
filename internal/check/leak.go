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

// portLeaked tells of an answer that sends clients to the port of a server, past its mapping, which is one of all.
// header is that of an answer which came through the mapping m.
func portLeaked(m rules.Mapping, all []rules.Mapping, header http.Header,
	server servers.Server) (advice []finding.Finding) {
	for _, f := range [...]struct {
		name string
		port func(string) string
	}{{"Location", locationPort}, {"Alt-Svc", servicePort}} {
		for _, value := range header.Values(f.name) {
			port := f.port(value)
			listen, leaked := listenOf(all, port)
			if !leaked {
				continue
			}
			advice = append(advice, finding.Finding{
				ID: finding.PortLeaked, Mapping: m,
				Text: fmt.Sprintf("%s sends clients to port %s, past the mapping of port %d: %s",
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

// listenOf returns the listen port behind which servers have a port, unless clients may use that port itself.
func listenOf(all []rules.Mapping, text string) (listen uint16, leaked bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	port := uint16(n)
	if err != nil {
		return 0, false
	}
	for i := range all {
		m := &all[i]
		if m.ListenPorts().Contains(port) {
			return 0, false
		}
		for _, ports := range facts.PortsHere(m) {
			if ports.Contains(port) && !leaked {
				listen, leaked = m.ListenPorts().First+port-ports.First, true
			}
		}
	}
	return listen, leaked
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
