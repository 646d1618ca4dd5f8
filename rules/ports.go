package rules

import (
	"fmt"
	"strconv"
	"strings"
)

// Ports is a range, 1-65535, both ends included. The zero Ports are none.
type Ports struct{ First, Last uint16 }

// Count returns how many ports there are.
func (p Ports) Count() int { return int(p.Last) - int(p.First) + 1 }

// Contains reports whether port is one of p.
func (p Ports) Contains(port uint16) bool { return p.First <= port && port <= p.Last }

// Overlaps reports whether p and q have a port in common.
func (p Ports) Overlaps(q Ports) bool { return p.First <= q.Last && q.First <= p.Last }

// String returns "443" or "8000-8010"; "" for none.
func (p Ports) String() string { return string(p.append(nil)) }

func (p Ports) append(b []byte) []byte {
	if p == (Ports{}) {
		return b
	}
	b = strconv.AppendUint(b, uint64(p.First), 10)
	if p.Last != p.First {
		b = append(b, '-')
		b = strconv.AppendUint(b, uint64(p.Last), 10)
	}
	return b
}

// Services finds the port of a name such as "https", as [net.LookupPort] does.
type Services func(network, name string) (port int, err error)

// parsePorts reads "443", "8000-8010" or a service name that all of protocols agree about.
func parsePorts(s string, protocols Protocols, services Services) (Ports, *InvalidError) {
	if s == "" {
		return Ports{}, Ports{}.check()
	}
	if c := s[0]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
		return parseService(s, protocols, services)
	}
	first, last, isRange := strings.Cut(s, "-")
	from, err := parsePort(first)
	if err != nil || !isRange {
		return Ports{from, from}, err
	}
	to, err := parsePort(last)
	if err != nil {
		return Ports{}, err
	}
	return Ports{from, to}, Ports{from, to}.check()
}

// check refuses a range that is none.
func (p Ports) check() *InvalidError {
	switch {
	case p == Ports{}:
		return &InvalidError{Why: "a port is missing", Fix: "write LISTEN:TARGET, for example 443:8443"}
	case p.First == 0 || p.Last == 0:
		return notAPort("0")
	case p.Last < p.First:
		return &InvalidError{Part: p.String(), Why: "the range runs backwards",
			Fix: "write " + Ports{p.Last, p.First}.String()}
	}
	return nil
}

func notAPort(s string) *InvalidError {
	return &InvalidError{Part: s, Why: "not a port", Fix: "ports are 1-65535"}
}

// parsePort reads decimal ASCII digits only: what [strconv.Atoi] takes beyond them (a sign) is no port.
func parsePort(s string) (uint16, *InvalidError) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, &InvalidError{Part: s, Why: "not a port number or service name",
				Fix: "ports are 1-65535, a range is 8000-8010"}
		}
		if n = n*10 + int(s[i]-'0'); n > 65535 {
			break
		}
	}
	switch {
	case s == "":
		return 0, &InvalidError{Why: "a port is missing", Fix: "a port is 1-65535, a range is 8000-8010"}
	case n == 0 || n > 65535:
		return 0, notAPort(s)
	case s[0] == '0':
		return 0, &InvalidError{Part: s, Why: "a port has no leading zero", Fix: fmt.Sprintf("write %d", n)}
	}
	return uint16(n), nil
}

func parseService(name string, protocols Protocols, services Services) (Ports, *InvalidError) {
	found := 0
	for _, protocol := range protocols.Each() {
		if services == nil {
			break
		}
		port, err := services(protocol.String(), name)
		if err != nil || port < 1 || port > 65535 {
			continue // one of tcp,udp may be unregistered: the other one's number is meant
		}
		if found != 0 && port != found {
			return Ports{},
				&InvalidError{Part: name, Why: fmt.Sprintf("has other ports over tcp (%d) and udp (%d)", found, port),
					Fix: "write the number"}
		}
		found = port
	}
	if found == 0 {
		return Ports{}, &InvalidError{Part: name, Why: "not a service that this host knows",
			Fix: "write the port's number"}
	}
	return Ports{uint16(found), uint16(found)}, nil
}
