package main

import (
	"fmt"
	"net/netip"
	"strings"

	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/rules"
)

// mostPlaces is how many addresses of a host are shown: one with more has them for a purpose that its owner knows.
const mostPlaces = 4

// reached shows a person where new mappings can be reached now, and who answers there. What scripts read has nothing of
// it.
func (a *app) reached(r reconcile.Report, found *servers.Found) {
	if !a.tty || a.quiet {
		return
	}
	for _, m := range incoming(r) {
		places := found.Places(m)
		for i, place := range places {
			if i == mostPlaces {
				fmt.Fprintf(a.out, "  and at %d more addresses\n", len(places)-i)
				break
			}
			fmt.Fprintf(a.out, "  %s -> %s%s\n", location(m, place.Address), whoAnswers(place), onlyFrom(m))
		}
	}
}

// location returns what a client types: a URL for the ports of the web.
func location(m rules.Mapping, address netip.Addr) string {
	host := address.String()
	if address.Is6() {
		host = "[" + host + "]"
	}
	if m.Protocols().Has(rules.TCP) {
		switch m.ListenPorts() {
		case rules.Ports{First: 443, Last: 443}:
			return "https://" + host + "/"
		case rules.Ports{First: 80, Last: 80}:
			return "http://" + host + "/"
		}
	}
	return fmt.Sprintf("%s:%s/%s", host, m.ListenPorts(), m.Protocols())
}

func whoAnswers(place servers.Place) string {
	switch {
	case len(place.Remote) > 0:
		texts := make([]string, 0, len(place.Remote))
		for _, target := range place.Remote {
			texts = append(texts, target.String())
		}
		return strings.Join(texts, " or ")
	case len(place.Servers) == 0:
		return "no server yet"
	}
	return joinServers(place.Servers, serverName)
}

func onlyFrom(m rules.Mapping) string {
	var sources []string
	for i, s := range m.Sources() {
		if i == mostPlaces {
			sources = append(sources, "...")
			break
		}
		sources = append(sources, s.String())
	}
	if len(sources) == 0 {
		return ""
	}
	return ", for clients from " + strings.Join(sources, ", ")
}
