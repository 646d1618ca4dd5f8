package rules

import "strings"

// Find returns the mappings that a person can mean by text: a name, a listen side ("443", "443/tcp",
// "192.0.2.7:443") or a mapping.
func (s Set) Find(text string, services Services) []Mapping {
	parser := Parser{Services: services}
	listen := listenSide(text, services)
	whole, err := parser.Parse(text)
	options := strings.ContainsAny(text, " \t")
	var found []Mapping
	for _, m := range s.mappings {
		switch {
		case m.name != "" && m.name == text,
			listen != nil && listen(m),
			err == nil && options && m.text == whole.text,
			err == nil && !options && m.Spec() == whole.Spec():
			found = append(found, m)
		}
	}
	return found
}

// listenSide reads [LISTEN_ADDR:]PORTS[/PROTO[,PROTO]]; without an address or a protocol it means any. It returns nil
// where text is none.
func listenSide(text string, services Services) func(Mapping) bool {
	sides, protocols, err := cutProtocols(text)
	if err != nil {
		return nil
	}
	addr, rest, err := cutAddr(sides)
	if err != nil || strings.ContainsRune(rest, ':') {
		return nil
	}
	ports, err := parsePorts(rest, protocols, services)
	if err != nil {
		return nil
	}
	anyProtocol := !strings.ContainsRune(text, '/')
	return func(m Mapping) bool {
		return m.ports == ports && (anyProtocol || m.protocols == protocols) &&
			(!addr.IsValid() || m.extra().listen == addr)
	}
}
