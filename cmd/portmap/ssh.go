package main

import (
	"fmt"

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

// guardSSH finds the mapping that takes the port of the SSH connection this command is typed in.
func (a *app) guardSSH(mappings []rules.Mapping) error {
	conn, ok := session.SSH(a.getenv, "/proc")
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
