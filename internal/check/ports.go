package check

import (
	"fmt"
	"strconv"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"
)

const (
	portRange     = "ipv4/ip_local_port_range"
	reservedPorts = "ipv4/ip_local_reserved_ports"
	firstFree     = "ipv4/ip_unprivileged_port_start"

	// privileged is below which ports need rights, where nobody has changed that (ip(7), ip_unprivileged_port_start).
	privileged = 1024

	// maxReserved is how many bytes of a list a person can paste.
	maxReserved = 1024
)

// ephemeralPort tells of target ports that the kernel may give to an outgoing connection. All are in one remedy: each
// command replaces the whole list.
func ephemeralPort(k kernel, mappings []rules.Mapping) []finding.Finding {
	bounds := strings.Fields(k.setting(portRange))
	if len(bounds) != 2 {
		return nil
	}
	given := portList(bounds[0] + "-" + bounds[1])
	if len(given) != 1 {
		return nil
	}
	old := k.setting(reservedPorts)
	reserved := portList(old)
	var loose []rules.Ports
	var about []rules.Mapping
	for _, m := range mappings {
		before := len(loose)
		for _, ports := range facts.PortsHere(&m) {
			loose = append(loose, outside(common(ports, given[0]), reserved)...)
		}
		if len(loose) > before {
			about = append(about, m)
		}
	}
	if len(loose) == 0 {
		return nil
	}
	f := finding.Finding{
		ID: finding.EphemeralPort, Mapping: only(about),
		Text: fmt.Sprintf("an outgoing connection of this host can take port %d while the server restarts, which "+
			"then cannot listen on it", loose[0].First),
		Seen: fmt.Sprintf("net.ipv4.ip_local_port_range = %s, net.ipv4.ip_local_reserved_ports = %s", given[0], old),
	}
	if list := portsText(facts.Join(append(reserved, loose...))); len(list) <= maxReserved {
		f.Remedy, f.Undo = sysctl(reservedPorts, list), sysctl(reservedPorts, old)
	}
	return []finding.Finding{f}
}

// unprivilegedPorts tells of listen ports on which every user may listen, since the limit was lowered.
func unprivilegedPorts(k kernel, mappings []rules.Mapping) []finding.Finding {
	start, known := k.number(firstFree)
	if !known || start >= privileged {
		return nil
	}
	var about []rules.Mapping
	for _, m := range mappings {
		if ports := m.ListenPorts(); ports.First < privileged && int(ports.Last) >= start {
			about = append(about, m)
		}
	}
	if len(about) == 0 {
		return nil
	}
	return []finding.Finding{{
		ID: finding.UnprivilegedPorts, Mapping: only(about),
		Text: fmt.Sprintf("every user of this host may listen on port %d, and has its clients whenever the mapping "+
			"is not live", max(int(about[0].ListenPorts().First), start)),
		Seen:   fmt.Sprintf("net.ipv4.ip_unprivileged_port_start = %d", start),
		Remedy: sysctl(firstFree, strconv.Itoa(privileged)), Undo: sysctl(firstFree, strconv.Itoa(start)),
	}}
}

// only returns the mapping that a finding is about; the zero Mapping for several.
func only(about []rules.Mapping) rules.Mapping {
	if len(about) == 1 {
		return about[0]
	}
	return rules.Mapping{}
}

// portList reads "8080,9000-9010". What is not a port is left out.
func portList(text string) (list []rules.Ports) {
	for item := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(item, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 == nil && err2 == nil && from <= to {
			list = append(list, rules.Ports{First: uint16(from), Last: uint16(to)})
		}
	}
	return list
}

func portsText(list []rules.Ports) string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, ",")
}

// common returns what two ranges share, as a list of at most one.
func common(a, b rules.Ports) []rules.Ports {
	if !a.Overlaps(b) {
		return nil
	}
	return []rules.Ports{{First: max(a.First, b.First), Last: min(a.Last, b.Last)}}
}

// outside returns those parts of the ranges that are in none of others.
func outside(list, others []rules.Ports) []rules.Ports {
	for _, o := range others {
		var rest []rules.Ports
		for _, p := range list {
			if !p.Overlaps(o) {
				rest = append(rest, p)
				continue
			}
			if p.First < o.First {
				rest = append(rest, rules.Ports{First: p.First, Last: o.First - 1})
			}
			if o.Last < p.Last {
				rest = append(rest, rules.Ports{First: o.Last + 1, Last: p.Last})
			}
		}
		list = rest
	}
	return list
}
