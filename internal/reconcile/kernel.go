package reconcile

import (
	"context"
	"fmt"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
)

// kernel is what all packet filters hold that are open.
type kernel struct {
	rules.Live              // together; damaged if it is more than one
	each       []rules.Live // of the one in use, then of those from which mappings are to move
}

// lookAtKernel reads all packet filters that are open.
func (h *Host) lookAtKernel(ctx context.Context) (kernel, error) {
	live, err := h.filter.Live(ctx)
	if err != nil {
		return kernel{}, err
	}
	k := kernel{live, []rules.Live{live}}
	here := map[string]int{}
	for _, from := range h.filter.From {
		if len(here) == 0 {
			k.Mappings = append([]rules.LiveMapping{}, k.Mappings...)
			for i := range k.Mappings {
				here[k.Mappings[i].String()] = i
			}
		}
		other, err := from.Live(ctx)
		if err != nil {
			return kernel{}, err
		}
		k.each = append(k.each, other)
		for _, o := range other.Mappings {
			if i, both := here[o.String()]; both {
				k.Mappings[i].Connections += o.Connections
			} else {
				here[o.String()] = len(k.Mappings)
				k.Mappings = append(k.Mappings, o)
			}
		}
		k.Foreign, k.Damaged = "", fmt.Sprintf("mappings are live in %s, and belong into %s", h.fromNames(),
			h.filter.Name())
	}
	return k, nil
}

// temporaryMappings reads all packet filters that are open.
func (h *Host) temporaryMappings(ctx context.Context) ([]rules.Mapping, error) {
	list, err := h.filter.Temporary(ctx)
	for _, from := range h.filter.From {
		if err != nil {
			break
		}
		var other []rules.Mapping
		if other, err = from.Temporary(ctx); err == nil {
			list = append(list, rules.Minus(other, list)...)
		}
	}
	return list, err
}

// moves reports whether mappings are to move from one packet filter to another.
func (h *Host) moves() bool { return len(h.filter.From) > 0 }

func (h *Host) fromNames() string {
	names := make([]string, 0, len(h.filter.From))
	for _, from := range h.filter.From {
		names = append(names, from.Name())
	}
	return strings.Join(names, " and ")
}

// moved says that mappings go from one packet filter to another; "" if they do not.
func (h *Host) moved(count int, dryRun bool) string {
	if !h.moves() {
		return ""
	}
	verb := "moved"
	if dryRun {
		verb = "would move"
	}
	return fmt.Sprintf("%s the mappings, %d in all, from %s to %s", verb, count, h.fromNames(), h.filter.Name())
}

// MovedError says that mappings are live in another backend than the one that was chosen.
type MovedError struct {
	Lives, Chosen string

	move string // the command that moves them
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("the mappings of this host are live in %s, not in %s", e.Lives, e.Chosen)
}

// Remedy returns the command that moves them.
func (e *MovedError) Remedy() string { return "to move them: " + e.move }

// variantNote returns one finding if the host has another rule set beside the one in use, else none.
func (h *Host) variantNote() []finding.Finding {
	if h.filter.Other == "" {
		return nil
	}
	text := fmt.Sprintf("the rules are those of %s; this host has %s, too", h.filter.Used, h.filter.Other)
	return []finding.Finding{{ID: finding.OtherVariant, Text: text}}
}

// limits returns one finding if this host cannot do all of the mappings, else none.
func (h *Host) limits(set rules.Set) []finding.Finding {
	if h.filter.Limits == nil {
		return nil
	}
	missing, why := h.filter.Limits()
	for _, m := range set.Mappings() {
		if m.Families()&missing != 0 {
			text := fmt.Sprintf("%s: mapped for %s only", why, rules.BothFamilies&^missing)
			return []finding.Finding{{ID: finding.FamilyMissing, Text: text}}
		}
	}
	return nil
}
