package main

import (
	"encoding/json"
	"net/netip"

	"portmap/internal/reconcile"
	"portmap/rules"
)

// The form of `list -o json` is a promise to scripts: fields may be added, none is renamed or taken away.

type jsonListing struct {
	Backend  string        `json:"backend"`
	Damaged  *jsonDamage   `json:"damaged,omitempty"`
	Mappings []jsonMapping `json:"mappings"`
}

// jsonDamage says what is wrong with the rules in the kernel, and what to type: empty where no command is known.
type jsonDamage struct {
	Why    string `json:"why"`
	Remedy string `json:"remedy"`
}

type jsonMapping struct {
	Mapping     string       `json:"mapping"`
	Name        *string      `json:"name"`
	Protocols   []string     `json:"protocols"`
	Families    []string     `json:"families"`
	Listen      jsonSide     `json:"listen"`
	Target      jsonSide     `json:"target"`            // the first one
	Targets     []jsonSide   `json:"targets,omitempty"` // all, of several
	Interface   *string      `json:"interface"`
	Sources     []string     `json:"sources"`
	Owner       *string      `json:"owner"`
	Hide        bool         `json:"hide"`
	Forward     bool         `json:"forward,omitempty"`
	Sticky      bool         `json:"sticky,omitempty"`
	Temporary   bool         `json:"temporary"`
	State       string       `json:"state"`
	Reason      *string      `json:"reason"`      // why the state is not active
	Connections *uint64      `json:"connections"` // null if the kernel could not be asked
	Servers     []jsonServer `json:"servers"`
}

type jsonSide struct {
	Address *string   `json:"address"`
	Ports   [2]uint16 `json:"ports"` // first and last
}

type jsonServer struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	User    string `json:"user"`
	Address string `json:"address"`
}

func (a *app) json(l reconcile.Listing) error {
	out := jsonListing{Backend: l.Backend, Mappings: make([]jsonMapping, 0, len(l.Rows))}
	for _, f := range l.Damage() {
		out.Damaged = &jsonDamage{l.Damaged, f.Remedy}
	}
	for _, row := range l.Rows {
		out.Mappings = append(out.Mappings, jsonOf(row))
	}
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

func jsonOf(row reconcile.Row) jsonMapping {
	m := row.Mapping
	j := jsonMapping{
		Mapping: m.Spec(), Name: orNull(m.Name()), Interface: orNull(m.Interface()), Owner: orNull(m.Owner()),
		Protocols: []string{}, Families: []string{}, Sources: []string{}, Servers: []jsonServer{},
		Listen: side(m.Listen(), m.ListenPorts()), Target: targets(m)[0],
		Hide: m.Hide(), Forward: m.Forward(), Sticky: m.Sticky(), Temporary: m.Temporary(),
		State: string(row.State), Reason: orNull(row.Reason),
	}
	if row.State != reconcile.Unknown {
		j.Connections = &row.Connections
	}
	if all := targets(m); len(all) > 1 {
		j.Targets = all
	}
	for _, p := range m.Protocols().Each() {
		j.Protocols = append(j.Protocols, p.String())
	}
	for _, f := range m.Families().Each() {
		j.Families = append(j.Families, familyWord(f))
	}
	for _, p := range m.Sources() {
		j.Sources = append(j.Sources, p.String())
	}
	for _, s := range row.Servers {
		j.Servers = append(j.Servers, jsonServer{s.PID, s.Command, s.User, s.Address})
	}
	return j
}

// familyWord names one family.
func familyWord(f rules.Families) string {
	if f == rules.IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

// targets returns the target side of each server.
func targets(m rules.Mapping) (list []jsonSide) {
	if ports, one := m.TargetPorts(); one {
		return []jsonSide{side(netip.Addr{}, ports)}
	}
	for _, t := range m.Targets() {
		list = append(list, side(t.Addr, t.Ports))
	}
	return list
}

func side(addr netip.Addr, ports rules.Ports) jsonSide {
	s := jsonSide{Ports: [2]uint16{ports.First, ports.Last}}
	if addr.IsValid() {
		s.Address = orNull(addr.String())
	}
	return s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
