package boot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"portmap/internal/finding"
)

// answer returns what systemctl shows of the two units, in the form of systemd 252.
func answer(restore, watchState string) string {
	block := func(id, state string) string {
		parts := strings.Split(state, " ")
		return "Result=" + parts[2] + "\nId=" + id + "\nActiveState=" + parts[0] + "\nSubState=" + parts[1] + "\n"
	}
	return block(unit, restore) + "\n" + block(watch, watchState)
}

// A unit that failed, and a watch that is enabled and does not run, are told of, with portmap's own last message.
func TestFailedUnits(t *testing.T) {
	const (
		good    = "active exited success"
		running = "active running success"
		failed  = "failed failed exit-code"
		stopped = "inactive dead success"
		journal = "Starting portmap-restore.service...\n" +
			"portmap: /etc/portmap/portmap.conf: line 3: 443: no target\n" +
			"portmap-restore.service: Main process exited, code=exited, status=1/FAILURE\n"
	)
	for _, c := range []struct {
		name, restore, watch string
		watched              bool
		journal              string
		want                 []finding.ID
		says                 string
	}{
		{"healthy", good, running, true, journal, nil, ""},
		{"healthy without a watch", good, stopped, false, journal, nil, ""},
		{"failed", failed, stopped, false, journal, []finding.ID{finding.UnitFailed},
			"at boot: /etc/portmap/portmap.conf: line 3: 443: no target"},
		{"failed, and no journal", failed, stopped, false, "", []finding.ID{finding.UnitFailed},
			"`sudo journalctl -b -u portmap-restore` may say why"},
		{"both", failed, stopped, true, journal, []finding.ID{finding.UnitFailed, finding.WatchStopped}, "line 3"},
		{"watch is stopped", good, stopped, true, "", []finding.ID{finding.WatchStopped}, "does not run: `sudo"},
		{"watch is started again", good, "activating auto-restart exit-code", true, "",
			[]finding.ID{finding.WatchStopped}, "does not run"},
		{"watch starts", good, "activating start success", true, "", nil, ""},
		{"not yet started", stopped, running, true, "", nil, ""},
	} {
		m := newMachine(t, kinds["systemd, as a package"]...)
		m.put(etcUnit+"sysinit.target.wants/"+unit, "")
		if c.watched {
			m.put(etcUnit+"multi-user.target.wants/"+watch, "")
		}
		m.Query = func(_ context.Context, name string, args ...string) (string, error) {
			switch {
			case name == "systemctl" && slices.Contains(args, unit) && slices.Contains(args, watch):
				return answer(c.restore, c.watch), nil
			case name == "journalctl":
				return c.journal, nil
			}
			return "", errors.New("unexpected")
		}
		var ids []finding.ID
		for _, f := range m.Failed(context.Background()) {
			ids = append(ids, f.ID)
			if len(ids) == 1 && !strings.Contains(f.Text, c.says) || f.Remedy == "" || f.Seen == "" {
				t.Errorf("%s: %+v, want %q", c.name, f, c.says)
			}
		}
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s: %v, want %v", c.name, ids, c.want)
		}
	}
}

// Nothing is asked where nothing is enabled, where nothing may be run, and where no init system runs.
func TestNothingFailed(t *testing.T) {
	for name, files := range kinds {
		m := newMachine(t, files...)
		m.Query = func(context.Context, string, ...string) (string, error) {
			t.Errorf("%s: a program runs", name)
			return "", nil
		}
		if got := m.Failed(context.Background()); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	m := newMachine(t, kinds["systemd, as a package"]...)
	m.put(etcUnit+"sysinit.target.wants/"+unit, "")
	if got := append(m.Failed(context.Background()), newMachine(t).Failed(context.Background())...); len(got) > 0 {
		t.Error(got)
	}
}

// OpenRC keeps the states of its services as links.
func TestFailedServices(t *testing.T) {
	m := newMachine(t, kinds["OpenRC, as a package"]...)
	m.put("/etc/runlevels/boot/"+service, "")
	m.put("/etc/runlevels/default/"+watcher, "")
	if got := m.Failed(context.Background()); len(got) > 0 {
		t.Errorf("OpenRC does not run: %v", got)
	}
	m.put(services+"softlevel", "")
	m.put(services+"failed/"+service, "")
	got := m.Failed(context.Background())
	if len(got) != 2 || got[0].ID != finding.UnitFailed || got[1].ID != finding.WatchStopped ||
		got[1].Remedy != "sudo rc-service portmap-watch start" {
		t.Errorf("%+v", got)
	}
	m = newMachine(t, kinds["OpenRC, as a package"]...)
	m.put("/etc/runlevels/default/"+watcher, "")
	m.put(services+"softlevel", "")
	m.put(services+"started/"+watcher, "")
	if got := m.Failed(context.Background()); len(got) > 0 {
		t.Errorf("all is well: %v", got)
	}
}
