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
	return fmt.Sprintf("%s: takes port %d, by which you are connected over SSH from %s", e.mapping.Spec(),
		e.conn.Server.Port(), e.conn.Client)
}
