package servers

import (
	"fmt"
	"slices"

	"portmap/rules"
)

// Advise says, in a line each, what a person should know of mappings that were just added: that no server is there yet, that
// one answers this host alone, that a process listens on the listen port itself and will get no new connections.
func Advise(added []rules.Mapping, found Found) []string {
	if found.byPort == nil {
		return nil // it was not to be found out
	}
	if slices.ContainsFunc(added, func(m rules.Mapping) bool { return len(found.Shadowed(m)) > 0 || onlyLoopback(found.Of(m)) }) {
		found.Name() // a walk over /proc, for when somebody has to be named
	}
	var lines []string
	for _, m := range added {
		for _, s := range found.Shadowed(m) {
			lines = append(lines, fmt.Sprintf("warning: %s listens on port %d itself, at %s; new connections go to port %d instead", s.Who(), s.Port, s.Address, m.TargetOf(s.Port)))
		}
		if len(m.Targets()) > 0 {
			continue
		}
		behind := found.Of(m)
		switch {
		case len(behind) == 0:
			lines = append(lines, fmt.Sprintf("no server listens on port %s/%s yet; connections are refused until one does", m.TargetPorts(), m.Protocols()))
		case onlyLoopback(behind) && !m.Listen().IsLoopback():
			lines = append(lines, fmt.Sprintf("warning: %s listens at %s, where other hosts do not reach it; make it listen on every address", behind[0].Who(), behind[0].Address))
		}
	}
	return lines
}

func onlyLoopback(list []Server) bool {
	if len(list) == 0 {
		return false
	}
	for _, s := range list {
		if !s.Loopback {
			return false
		}
	}
	return true
}
