package boot

import (
	"context"
	"fmt"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
)

// Failed says which services that the boot starts have failed, or do not run, and why, as far as that is known.
func (h Host) Failed(ctx context.Context) []finding.Finding {
	if system := h.init(); system != nil {
		return system.failed(ctx)
	}
	return nil
}

func restoreFailed(service, why, remedy, seen string) finding.Finding {
	return finding.Finding{
		ID: finding.UnitFailed, Text: service + " failed, so it does not restore the mappings at boot: " + why,
		Remedy: remedy, Seen: seen,
	}
}

func watchStopped(why, remedy, undo, seen string) finding.Finding {
	return finding.Finding{
		ID: finding.WatchStopped, Text: "portmap-watch is enabled and does not run: " + why,
		Remedy: remedy, Undo: undo, Seen: seen,
	}
}

// failed asks systemd, once for both units.
func (s systemd) failed(ctx context.Context) (advice []finding.Finding) {
	on, watched := s.enabled(), s.watched()
	if s.Query == nil || !on && !watched {
		return nil
	}
	said, err := s.Query(ctx, "systemctl", "show", "--property=Id,ActiveState,SubState,Result", unit, watch)
	if err != nil {
		return nil // not to be found out
	}
	states := unitStates(said)
	if state := states[unit]; on && state["ActiveState"] == "failed" {
		advice = append(advice, restoreFailed("portmap-restore", s.lastWords(ctx, unit),
			"sudo systemctl start portmap-restore", seenIn(state)))
	}
	if state := states[watch]; watched && (state["ActiveState"] == "inactive" || state["ActiveState"] == "failed" ||
		state["SubState"] == "auto-restart") {
		advice = append(advice, watchStopped(s.lastWords(ctx, watch), "sudo systemctl start portmap-watch",
			"sudo systemctl stop portmap-watch", seenIn(state)))
	}
	return advice
}

func seenIn(state map[string]string) string {
	return fmt.Sprintf("systemctl show: ActiveState=%s, SubState=%s, Result=%s",
		state["ActiveState"], state["SubState"], state["Result"])
}

// unitStates reads what systemctl shows: a line for each property, and an empty one between units.
func unitStates(said string) map[string]map[string]string {
	states := map[string]map[string]string{}
	for block := range strings.SplitSeq(said, "\n\n") {
		state := map[string]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			state[key] = value
		}
		states[state["Id"]] = state
	}
	return states
}

// lastWords returns the last message that portmap itself wrote in a unit since the boot, with the number of the line
// that is wrong.
func (s systemd) lastWords(ctx context.Context, unit string) string {
	const own = "portmap: "
	said, _ := s.Query(ctx, "journalctl", "--quiet", "--boot", "--output=cat", "--lines=20", "--unit="+unit)
	words := ""
	for line := range strings.Lines(said) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), own); ok {
			words = rules.Printable(text)
		}
	}
	if words == "" {
		return "`sudo journalctl -b -u " + strings.TrimSuffix(unit, ".service") + "` may say why"
	}
	return words
}

// services is where OpenRC keeps the states of services (openrc(8)).
const services = "/run/openrc/"

func (o openrc) failed(context.Context) (advice []finding.Finding) {
	if !o.exists(services + "softlevel") {
		return nil // it does not run this host
	}
	const why = "its log may say why"
	if o.enabled() && o.linked(services+"failed/"+service) {
		advice = append(advice, restoreFailed(service, why, "sudo rc-service "+service+" start",
			services+"failed/"+service))
	}
	if len(o.levels(watcher)) > 0 && !o.linked(services+"started/"+watcher) {
		advice = append(advice, watchStopped(why, "sudo rc-service "+watcher+" start",
			"sudo rc-service "+watcher+" stop", "no "+services+"started/"+watcher))
	}
	return advice
}
