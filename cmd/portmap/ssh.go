package main

import (
	"fmt"
	"slices"

	"portmap/internal/servers"
	"portmap/internal/session"
	"portmap/rules"
)

// sshError refuses a mapping that would lock the person out who types it.
type sshError struct {
	mapping rules.Mapping
	conn    session.Connection
}

func (e *sshError) Error() string {
	return fmt.Sprintf("%s: takes port %d, by which you are connected over SSH from %s", e.mapping.Spec(), e.conn.Server.Port(), e.conn.Client)
}

// guardSSH finds the mapping that takes the port of the SSH connection this command is typed in. Where the environment does
// not tell of one, it is looked for only when somebody listens on a listen port: sshd would have to.
func (a *app) guardSSH(mappings []rules.Mapping, found servers.Found) error {
	conn, ok := session.FromEnvironment(a.getenv)
	if !ok && slices.ContainsFunc(mappings, func(m rules.Mapping) bool { return len(found.Shadowed(m)) > 0 }) {
		conn, ok = session.FromParents("/proc")
	}
	if !ok {
		return nil
	}
	for _, m := range mappings {
		packet := rules.Packet{Protocol: rules.TCP, Source: conn.Client, Destination: conn.Server, DestinationLocal: true, Interface: m.Interface()}
		if m.Claims(packet) {
			return &sshError{m, conn}
		}
	}
	return nil
}
