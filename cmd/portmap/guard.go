package main

import (
	"errors"
	"slices"
	"strings"

	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/internal/session"
	"portmap/rules"
)

// guard refuses mappings that take the port of the SSH connection this command is typed in. At boot there is none.
func (a *app) guard(incoming []reconcile.Outcome) error { return a.guardConnection(incoming, true) }

// guardConnection looks at the processes above this one only where it is asked to, since most mappings are for
// ports where nobody listens.
func (a *app) guardConnection(incoming []reconcile.Outcome, above bool) error {
	conn, ok := session.FromEnvironment(a.getenv)
	if !ok && above {
		conn, ok = session.FromParents("/proc")
	}
	if !ok {
		return nil
	}
	for _, in := range incoming {
		m := in.Mapping
		packet := rules.Packet{
			Protocol: rules.TCP, Source: conn.Client, Destination: conn.Server, DestinationLocal: true,
			Interface: m.Interface(),
		}
		if m.Claims(packet) {
			return &sshError{m, conn}
		}
	}
	return nil
}

// guardServers refuses, beyond that, mappings that cut a server off from its clients.
func (a *app) guardServers(found *servers.Found) func([]reconcile.Outcome) error {
	return func(incoming []reconcile.Outcome) error {
		// as sshd would have to
		listens := func(in reconcile.Outcome) bool { return len(found.Shadowed(in.Mapping)) > 0 }
		if err := a.guardConnection(incoming, slices.ContainsFunc(incoming, listens)); err != nil {
			return err
		}
		list := make([]servers.Incoming, 0, len(incoming))
		for _, in := range incoming {
			list = append(list, servers.Incoming{Mapping: in.Mapping, Old: in.Old})
		}
		if err := servers.Guard(list, found); err != nil {
			return &refusal{err, a.wayOut(err)}
		}
		return nil
	}
}

// refusal is an error that --force overrides.
type refusal struct {
	error
	remedy string
}

func (e *refusal) Unwrap() error { return e.error }

// Remedy returns what to do first, and what to type.
func (e *refusal) Remedy() string { return e.remedy }

func (a *app) wayOut(err error) string {
	force := a.command("--force")
	var cut *servers.CutOffError
	switch {
	case !errors.As(err, &cut):
		return "if you mean it: " + force
	case cut.Swapped():
		return "the public port comes first: " + a.swapped(cut.Mapping) + "; if you mean it: " + force
	case cut.Near.Port != 0:
		return "have that one listen on every address first, then add the mapping; to cut the clients off until " +
			"then: " + force
	case cut.Partly && cut.Families == rules.IPv6:
		return "have the server on the target port listen on [::], or leave IPv6 as it is: " + a.command("-4") +
			"; if you mean it: " + force
	}
	return "start the server on the target port first, then add the mapping; to cut the clients off until then: " +
		force
}

// swapped returns the line that was typed with the ports of one mapping the other way round.
func (a *app) swapped(m rules.Mapping) string {
	args := slices.Clone(a.args)
	if i := a.typed(m); i >= 0 {
		args[i] = otherWay(m)
	}
	return pasted(args)
}

// typedBoth reports whether the two mappings of a conflict stand on the command line: --replace makes no room between
// them.
func (a *app) typedBoth(c *rules.ConflictError) bool {
	return c.Mapping.Spec() != c.With.Spec() && a.typed(c.With) >= 0
}

// typed returns the place of the word on the command line that stands for a mapping, or -1.
func (a *app) typed(m rules.Mapping) int {
	parser := rules.Parser{Services: lookupPort}
	return slices.IndexFunc(a.args, func(word string) bool {
		typed, err := parser.ParseWords([]string{word})
		return err == nil && typed.Spec() == m.Spec()
	})
}

// otherWay returns what one types for a mapping with its ports the other way round.
func otherWay(m rules.Mapping) string {
	parts := m.Parts()
	parts.ListenPorts, parts.TargetPorts = parts.TargetPorts, parts.ListenPorts
	other, err := rules.New(parts)
	if err != nil {
		return m.Spec()
	}
	return strings.TrimSuffix(other.Spec(), "/tcp") // what a mapping is that says no protocol
}
