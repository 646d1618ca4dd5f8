package finding

import "portmap/rules"

// Finding is one thing that a person should know.
type Finding struct {
	ID      ID
	Mapping rules.Mapping // the one that it is about; the zero Mapping for the host, and for several mappings
	Text    string        // one sentence, without a full stop
	Remedy  string        // a command that can be pasted, with sudo where it needs root; empty if there is none
	Keep    string        // what makes the remedy last over a reboot; empty if it does by itself
	Undo    string        // the command that takes the remedy back; empty if no command is sure to do that
	Seen    string        // by what it was found out: a rule, a counter, a file; empty where the text says it
}

// Severity is how bad a finding is. The words are stable.
type Severity string

// The severities.
const (
	Broken Severity = "broken" // clients do not reach the server, or not all of them
	Risk   Severity = "risk"   // it works now, or for some, and can end without a change to the mapping
	Hint   Severity = "hint"   // nothing is wrong, and it is good to know
)

// Severity returns how bad the finding is. It depends on the ID only.
func (f Finding) Severity() Severity { return kindOf(f.ID).severity }

// String returns the text, and behind it the remedy with what it is for: "not restored at boot yet; to have that:
// sudo portmap enable".
func (f Finding) String() string {
	switch lead := kindOf(f.ID).lead; {
	case f.Remedy == "":
		return f.Text
	case lead == "": // the text ends with it
		return f.Text + ": " + f.Remedy
	default:
		return f.Text + "; " + lead + ": " + f.Remedy
	}
}

// Line returns what is printed: String, with "warning: " before it where that is part of the message.
func (f Finding) Line() string {
	if kindOf(f.ID).warning {
		return "warning: " + f.String()
	}
	return f.String()
}
