package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// commandError is a word in the place of a command that is none.
type commandError struct {
	root *cobra.Command
	word string
}

func (e *commandError) Error() string { return e.word + ": no such command" }

// suggestion returns the line that was typed with the nearest command in the place of the word, where one is near.
func suggestion(a *app, err error) string {
	const help = "`portmap help` lists the commands, `portmap help COMMAND` their flags"
	var e *commandError
	errors.As(err, &e)
	near := e.root.SuggestionsFor(e.word)
	at := slices.Index(a.args, e.word)
	if len(near) == 0 || at < 0 {
		return help
	}
	args := slices.Clone(a.args)
	args[at] = near[0]
	line := pasted(args)
	if rootless(near[0]) {
		line = strings.TrimPrefix(line, "sudo ")
	}
	if others := near[1:]; len(others) > 0 {
		return "perhaps: " + line + "; there are also " + strings.Join(others, ", ")
	}
	return "perhaps: " + line
}

// rootless reports whether a command needs no rights.
func rootless(command string) bool {
	return slices.Contains([]string{"completion", "demo", "export", "help", "version"}, command)
}
