package rules

import (
	"net/netip"
	"strings"
)

// readSpec reads [LISTEN_ADDR:]PORTS:[TARGET_ADDR:]PORTS[/PROTO[,PROTO]].
func (m *Mapping) readSpec(spec string, services Services) *InvalidError {
	sides, protocols, err := cutProtocols(spec)
	if err != nil {
		return err
	}
	m.protocols = protocols
	listen, rest, err := cutAddr(sides)
	if err != nil {
		return err
	}
	if listen.IsValid() {
		if err := m.setListen(listen); err != nil {
			return err
		}
	}
	ports, targets, found := strings.Cut(rest, ":")
	if !found {
		return &InvalidError{Why: "no target", Fix: "write LISTEN:TARGET, for example 443:8443"}
	}
	if m.ports, err = parsePorts(ports, protocols, services); err != nil {
		return err
	}
	return m.readTargets(targets, services)
}

// readTargets reads PORTS[,PORTS...], or ADDR:PORTS[,ADDR:PORTS...]; an address without ports has those of the next
// that has some.
func (m *Mapping) readTargets(s string, services Services) *InvalidError {
	if isWord(s) {
		var err *InvalidError
		m.target, err = parsePorts(s, m.protocols, services)
		return err
	}
	if !strings.ContainsAny(s, ".[:") {
		return m.readLocalTargets(s, services)
	}
	waiting := 0
	for item := range strings.SplitSeq(s, ",") {
		addr, rest, err := cutAddr(item)
		if err != nil {
			return err
		}
		if !addr.IsValid() {
			fix := "write the server's port, for example 443:8443; a protocol stands behind a slash: 443:8443/udp"
			if strings.Contains(s, ",") {
				fix = "several targets are written ADDRESS:PORT,ADDRESS:PORT"
			}
			return &InvalidError{Part: item, Why: "not a target", Fix: fix}
		}
		if err := m.addTarget(addr); err != nil {
			return err
		}
		if rest == "" {
			waiting++
			continue
		}
		ports, err := parsePorts(rest, m.protocols, services)
		if err != nil {
			return err
		}
		targets := m.extras.targets
		for ; waiting >= 0; waiting-- {
			targets[len(targets)-1-waiting].Ports = ports
		}
		waiting = 0
	}
	if waiting > 0 {
		return &InvalidError{Part: s, Why: "the target's port is missing", Fix: "write " + s + ":8443"}
	}
	return nil
}

// readLocalTargets reads PORTS,PORTS[,PORTS...].
func (m *Mapping) readLocalTargets(s string, services Services) *InvalidError {
	for item := range strings.SplitSeq(s, ",") {
		ports, err := parsePorts(item, m.protocols, services)
		if err != nil {
			return err
		}
		m.edit().targets = append(m.edit().targets, Target{Ports: ports})
	}
	return nil
}

// isWord reports whether s is ports or a service name, and no address.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '.' || c == '[' || c == ':' || c == ',' {
			return false
		}
	}
	return true
}

func cutProtocols(spec string) (sides string, protocols Protocols, err *InvalidError) {
	slash := strings.LastIndexByte(spec, '/')
	if slash < 0 {
		return spec, TCP, nil
	}
	for word, rest, more := "", spec[slash+1:], true; more; {
		word, rest, more = strings.Cut(rest, ",")
		switch strings.ToLower(word) {
		case "tcp":
			protocols |= TCP
		case "udp":
			protocols |= UDP
		default:
			return "", 0, notAProtocol(word)
		}
	}
	return spec[:slash], protocols, nil
}

func notAProtocol(word string) *InvalidError {
	fix := "write /tcp, /udp or /tcp,udp"
	if strings.Contains(word, ":") {
		fix = "the protocol comes last, for example 443:8443/tcp"
	}
	return &InvalidError{Part: word, Why: "not a protocol", Fix: fix}
}

// cutAddr takes an address and the colon behind it off the front of s, if there is one: an IPv6 address stands in
// brackets, an IPv4 address has dots before the first colon.
func cutAddr(s string) (addr netip.Addr, rest string, err *InvalidError) {
	var text string
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return addr, "", &InvalidError{Part: s, Why: "no closing bracket", Fix: "write [2001:db8::7]:443"}
		}
		text, rest = s[1:end], s[end+1:]
	} else {
		colon := strings.IndexByte(s, ':')
		if colon < 0 {
			colon = len(s)
		}
		if strings.IndexByte(s[:colon], '.') < 0 {
			return addr, s, bareIPv6(s)
		}
		text, rest = s[:colon], s[colon:]
	}
	if rest != "" && rest[0] != ':' {
		return addr, "", &InvalidError{Part: s, Why: "no colon behind the address", Fix: "write [" + text + "]:443"}
	}
	if addr, err = parseAddr(text); err != nil {
		return addr, "", err
	}
	if addr.Is6() && s[0] != '[' || addr.Is4() && s[0] == '[' {
		return addr, "", &InvalidError{Part: text, Why: "brackets are for IPv6 addresses, and only for them"}
	}
	return addr, strings.TrimPrefix(rest, ":"), nil
}

// bareIPv6 recognizes an IPv6 address that was written without its brackets.
func bareIPv6(s string) *InvalidError {
	if strings.Count(s, ":") < 2 {
		return nil
	}
	// What stands behind it is ports, as many of the last words as leave an address.
	i := strings.LastIndexByte(s, ':')
	for _, end := range [...]int{strings.LastIndexByte(s[:i], ':'), i, len(s)} {
		if end < 0 {
			continue
		}
		if a, err := netip.ParseAddr(s[:end]); err == nil && a.Is6() {
			rest := s[end:]
			if rest == "" {
				rest = ":443"
			}
			return &InvalidError{Part: s, Why: "an IPv6 address without brackets",
				Fix: "write [" + a.WithZone("").String() + "]" + Printable(rest)}
		}
	}
	return nil
}

func parseAddr(s string) (netip.Addr, *InvalidError) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, &InvalidError{Part: s, Why: "not an IP address",
			Fix: "write an IPv4 address or an IPv6 address in brackets: [2001:db8::7]"}
	}
	return a, checkAddr(a, s)
}
