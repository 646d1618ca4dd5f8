// Package finding is what a person should know about a mapping or about this host, as a value: what is wrong or may go
// wrong, how bad that is, and the command that cures it. Those who find something out make findings; the command prints
// them, all in one way. This package looks at nothing and prints nothing. Refusals and failures are errors, not
// findings.
package finding
