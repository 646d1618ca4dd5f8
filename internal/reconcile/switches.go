package reconcile

import (
	"context"
	"slices"

	"portmap/internal/finding"
	"portmap/internal/switches"
	"portmap/rules"
)

// withSwitches puts the steps that change the packet filters between those that set switches of the kernel. What is not
// needed any more is switched off before the rules go that make it harmless, and what is needed is switched on when
// they are there.
func (h *Host) withSwitches(p plan, steps []step, warnings *[]finding.Finding) []step {
	needed := h.needed(p)
	if known, err := h.Run.Switches(); len(needed)+len(known) == 0 && err == nil { // an error is the first step's
		return steps
	}
	var lowered, raised switches.Step
	lower := step{
		do:   func(context.Context) (err error) { lowered, err = switches.Lower(h.Run, needed); return err },
		undo: func(context.Context) error { return lowered.Undo() },
		what: "the switches",
	}
	raise := step{
		do: func(context.Context) (err error) {
			if raised, err = switches.Raise(h.Run, needed); err != nil && (p.lenient || h.KeepGoing) {
				*warnings = append(*warnings, finding.Finding{ID: finding.SwitchOff, Text: err.Error()})
				err = nil
			}
			return err
		},
		undo: func(context.Context) error { return raised.Undo() },
		what: "the switches",
	}
	return slices.Concat([]step{lower}, steps, []step{raise})
}

// needed returns the switches that the mappings need that should be live.
func (h *Host) needed(p plan) []string {
	return switches.Needed(slices.Concat(p.desired.Mappings(), p.others.Mappings()))
}

// switchedOff reports whether a switch that mappings need is off. One that cannot be read is not.
func switchedOff(desired rules.Set) bool {
	return len(switches.Off(switches.Needed(desired.Mappings()))) > 0
}
