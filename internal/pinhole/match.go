package pinhole

import (
	"slices"
	"strings"

	"portmap/rules"
	"portmap/rules/facts"
)

// words say in the language of a firewall what connections have. Those in capital letters are filled in.
type words struct {
	translated string
	listen     string // the port that the client used: both directions of a connection have it
	server     string // who answers, on another host
	early      string // what has the listen port and is not translated yet, to any address of this host
	earlyTo    string // the same to one address
	to         string // between the first port of a range and the last
}

// A rule of nft is for one protocol: nft 1.0.6 lists ct original proto-dst as "[invalid type]" beside more than one
// port or protocol, and does not load what it has listed.
var (
	nft = words{
		translated: "meta l4proto PROTOCOL ct status dnat",
		listen:     " ct original proto-dst LISTEN",
		server:     " ct reply FAMILY saddr SERVER ct reply proto-src PORTS",
		early:      "PROTOCOL dport LISTEN fib daddr type local",
		earlyTo:    "FAMILY daddr ADDRESS PROTOCOL dport LISTEN",
		to:         "-",
	}
	iptables = words{
		translated: "-p PROTOCOL -m conntrack --ctstate DNAT",
		listen:     " --ctorigdstport LISTEN",
		server:     " --ctreplsrc SERVER --ctreplsrcport PORTS",
		early:      "-p PROTOCOL --dport LISTEN -m addrtype --dst-type LOCAL",
		earlyTo:    "-d ADDRESS -p PROTOCOL --dport LISTEN",
		to:         ":",
	}
)

// matches returns what the connections have, and no others: one match a server on another host. Mappings with
// different listen ports have one match, for all that is translated.
func (c Connections) matches(in words) (list []string) {
	family := map[rules.Families]string{rules.IPv4: "ip", rules.IPv6: "ip6"}[c.Family]
	text := func(ports string) string { return strings.Replace(ports, "-", in.to, 1) }
	for _, m := range c.Mappings {
		for _, t := range facts.TargetsIn(&m, c.Family) {
			match := in.translated
			switch {
			case c.Early && m.Listen().IsValid():
				match = in.earlyTo
			case c.Early:
				match = in.early
			case t.Remote():
				match += in.listen + in.server
			case c.ports() != "":
				match += in.listen
			}
			match = strings.NewReplacer("PROTOCOL", c.Protocol.String(), "LISTEN", text(c.ports()), "FAMILY", family,
				"ADDRESS", m.Listen().String(), "SERVER", t.Addr.String(), "PORTS", text(t.Ports.String()),
			).Replace(match)
			if !slices.Contains(list, match) {
				list = append(list, match)
			}
		}
	}
	return list
}

// ports returns the listen ports; "" if they differ.
func (c Connections) ports() string {
	ports := c.Mappings[0].ListenPorts()
	if slices.ContainsFunc(c.Mappings, func(m rules.Mapping) bool { return m.ListenPorts() != ports }) {
		return ""
	}
	return ports.String()
}
