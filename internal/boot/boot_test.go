package boot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portmap/internal/finding"
)

// machine is a Host in a folder. Its programs change the folder as the real ones would.
type machine struct {
	Host
	t    *testing.T
	ran  []string
	fail string // the program that fails
}

func newMachine(t *testing.T, files ...string) *machine {
	t.Helper()
	m := &machine{t: t, Host: Host{Root: t.TempDir(), Owner: uint32(os.Getuid()), Binary: "/usr/local/bin/portmap",
		File: file}}
	m.Run = m.run
	if err := os.Chmod(m.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, binary := range []string{m.Binary, "/opt/portmap"} {
		m.put(binary, "")
	}
	for _, f := range files {
		m.put(f, "of the package\n")
	}
	return m
}

func (m *machine) put(path, content string) {
	m.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(m.path(path)), 0o755),
		os.WriteFile(m.path(path), []byte(content), 0o755)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) run(name string, args ...string) error {
	line := strings.Join(append([]string{name}, args...), " ")
	m.ran = append(m.ran, line)
	if m.fail != "" && strings.Contains(line, m.fail) {
		return errors.New(line + ": exit status 1: it broke")
	}
	links := map[string]string{
		unit: etcUnit + "sysinit.target.wants/" + unit, watch: etcUnit + "multi-user.target.wants/" + watch,
		service: "/etc/runlevels/boot/" + service, watcher: "/etc/runlevels/default/" + watcher,
	}
	for name, link := range links {
		if !slices.Contains(args, name) {
			continue
		}
		switch {
		case slices.Contains(args, "reenable"), slices.Contains(args, "add"):
			m.put(link, "")
		case slices.Contains(args, "disable"), slices.Contains(args, "del"):
			_ = os.Remove(m.path(link))
		}
	}
	return nil
}

// tree lists the files of the machine.
func (m *machine) tree() string {
	m.t.Helper()
	var list []string
	err := filepath.WalkDir(m.Root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, m.Root))
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

func (m *machine) must(said string, err error) string {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
	return said
}

var kinds = map[string][]string{
	"systemd, built by hand": {"/run/systemd/system/x"},
	"systemd, as a package":  {"/run/systemd/system/x", "/usr/lib/systemd/system/" + unit},
	"systemd, merged late":   {"/run/systemd/system/x", "/lib/systemd/system/" + unit},
	"OpenRC, built by hand":  {"/sbin/openrc-run"},
	"OpenRC, as a package":   {"/sbin/openrc-run", script(service), script(watcher)},
}

// Enable and Disable, each called twice, say what they did, and in the end everything is as before.
func TestEnableAndDisable(t *testing.T) {
	for name, files := range kinds {
		for _, legacy := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				m := newMachine(t, files...)
				before := m.tree()
				if got := m.State(legacy); got != Off {
					t.Errorf("at first it is %d", got)
				}
				if said := m.must(m.Enable(legacy)); !strings.HasPrefix(said, "mappings are restored at boot: /") {
					t.Errorf("enable says %q", said)
				}
				if got := m.State(legacy); got != On {
					t.Errorf("after enable it is %d", got)
				}
				on, ran := m.tree(), len(m.ran)
				if said := m.must(m.Enable(legacy)); !strings.HasPrefix(said, "restore at boot is on already") ||
					m.tree() != on || len(m.ran) != ran {
					t.Errorf("enable again says %q and runs %v", said, m.ran[ran:])
				}
				if said := m.must(m.Disable()); !strings.HasPrefix(said, "mappings are not restored at boot any more") {
					t.Errorf("disable says %q", said)
				}
				if strings.HasPrefix(name, "OpenRC") &&
					!slices.Contains(m.ran, "rc-update --quiet del portmap-restore boot") {
					t.Errorf("disable runs %v", m.ran)
				}
				if said := m.must(m.Disable()); said != "restore at boot is off already" || m.tree() != before {
					t.Errorf("disable again says %q, and left\n%s", said, m.tree())
				}
			})
		}
	}
}

// A unit that Enable writes starts the command that wrote it. If the package has one, none is written.
func TestUnitsNameTheBinary(t *testing.T) {
	for name, files := range kinds {
		m := newMachine(t, files...)
		m.must(m.Enable(false))
		for _, path := range []string{etcUnit + unit, etcUnit + reapply, etcUnit + watch, script(service),
			script(watcher)} {
			content, err := os.ReadFile(m.path(path))
			switch {
			case strings.HasSuffix(name, "by hand") &&
				strings.HasPrefix(path, "/etc/init.d/") != strings.HasPrefix(name, "OpenRC"):
			case !strings.HasSuffix(name, "by hand"):
				if err == nil && marked(content) {
					t.Errorf("%s: %s was written", name, path)
				}
			case err != nil || !strings.Contains(string(content), "/usr/local/bin/portmap") ||
				strings.Contains(string(content), packaged):
				t.Errorf("%s: %s is %v\n%s", name, path, err, content)
			}
		}
	}
}

// Each init system has its own way to end a watch.
func TestEndWatch(t *testing.T) {
	for name, files := range kinds {
		want := "sudo systemctl stop portmap-watch portmap-reapply"
		if strings.HasPrefix(name, "OpenRC") {
			want = "sudo rc-service portmap-watch stop"
		}
		if got := newMachine(t, files...).EndWatch(); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := newMachine(t).EndWatch(); strings.Contains(got, "systemctl") {
		t.Errorf("without an init system: %q", got)
	}
}

// Where a mapping needs switches of the kernel, a drop-in lets the units set them, and nothing else.
func TestSwitchesDropIn(t *testing.T) {
	m := newMachine(t, "/run/systemd/system/", "/lib/systemd/system/"+unit)
	m.must(m.Enable(false))
	needs := m.Host
	needs.Switches = true
	if needs.State(false) != Off || m.State(false) != On {
		t.Error("the units can set switches before there is a drop-in")
	}
	advice := m.Advice(Change{File: m.File, Switches: true})
	if len(advice) != 1 || advice[0].ID != finding.BootOff {
		t.Errorf("advice is %v", advice)
	}
	m.must(needs.Enable(false))
	for _, u := range units() {
		if !m.exists(dropIn(u, switchesConf)) {
			t.Errorf("%s has no drop-in", u)
		}
	}
	if needs.State(false) != On {
		t.Error("it is not on")
	}
	m.must(m.Enable(false))
	if m.exists(dropIn(unit, switchesConf)) {
		t.Error("the drop-in is left")
	}
}

// A drop-in gives iptables-legacy the rights that it needs, and is removed when iptables-legacy is no longer used.
func TestLegacyDropIn(t *testing.T) {
	m := newMachine(t, kinds["systemd, as a package"]...)
	m.must(m.Enable(false))
	if m.State(true) != Off {
		t.Error("without the drop-in iptables-legacy would fail at boot")
	}
	m.must(m.Enable(true))
	if !m.exists(dropIn(unit, legacyConf)) || m.State(true) != On {
		t.Error("there is no drop-in")
	}
	m.must(m.Enable(false))
	if m.exists(dropIn(unit, legacyConf)) {
		t.Error("the drop-in is still there")
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		m    *machine
		says string
	}{
		"no init system": {newMachine(t), "neither systemd nor OpenRC"},
		"a home folder":  {newMachine(t, kinds["systemd, built by hand"]...), "/home/me/portmap is in a place"},
		"a failure":      {newMachine(t, kinds["systemd, as a package"]...), "it broke"},
		"of OpenRC":      {newMachine(t, kinds["OpenRC, built by hand"]...), "it broke"},
	} {
		switch name {
		case "a home folder":
			c.m.Binary = "/home/me/portmap"
		case "a failure":
			c.m.fail = "reenable"
		case "of OpenRC":
			c.m.fail = "rc-update"
		}
		before := c.m.tree()
		_, err := c.m.Enable(false)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.m.tree() != before {
			t.Errorf("%s: %v; files are\n%s", name, err, c.m.tree())
		}
	}
	if _, err := newMachine(t).Disable(); !errors.As(err, new(*NoInitError)) {
		t.Errorf("disable: %v", err)
	}
}

// An Enable that fails at its last step leaves nothing behind, and restores what it had changed.
func TestEnableThatFailsLeavesNothing(t *testing.T) {
	m := newMachine(t, kinds["systemd, built by hand"]...)
	m.fail = "start"
	before := m.tree()
	_, err := m.Enable(true)
	if !errors.As(err, new(*StartError)) || m.tree() != before {
		t.Errorf("%v; files are\n%s", err, m.tree())
	}
	if last := m.ran[len(m.ran)-1]; last != "systemctl daemon-reload" {
		t.Errorf("it ends with %q: systemd still knows what is gone", last)
	}

	m.fail = ""
	m.must(m.Enable(false))
	m.fail, m.Binary = "start", "/opt/portmap"
	before = m.tree()
	content, _ := os.ReadFile(m.path(etcUnit + unit))
	if _, err := m.Enable(true); err == nil || m.tree() != before {
		t.Errorf("%v; files are\n%s", err, m.tree())
	}
	if now, _ := os.ReadFile(m.path(etcUnit + unit)); string(now) != string(content) {
		t.Errorf("the unit became\n%s", now)
	}

	m.fail = ""
	m.must(m.Enable(true))
	m.fail = "start"
	before = m.tree()
	if _, err := m.Enable(false); !errors.As(err, new(*StartError)) || m.tree() != before {
		t.Errorf("%v; files are\n%s", err, m.tree())
	}
}

// The units of a command that was built by hand are replaced by those of the package.
func TestPackageComesLater(t *testing.T) {
	m := newMachine(t, kinds["systemd, built by hand"]...)
	m.must(m.Enable(false))
	m.put(etcUnit+"multi-user.target.wants/"+watch, "")
	m.put("/usr/lib/systemd/system/"+unit, "of the package\n")
	m.ran = nil
	if said := m.must(m.Enable(false)); !strings.HasSuffix(said, "/usr/lib/systemd/system/"+unit) {
		t.Errorf("enable says %q", said)
	}
	if m.exists(etcUnit+unit) || !slices.Contains(m.ran, "systemctl --quiet reenable "+unit+" "+watch) {
		t.Errorf("it ran %v; files are\n%s", m.ran, m.tree())
	}
}

// Disable also disables the watch, which would start the disabled unit at boot.
func TestDisableSwitchesTheWatchOff(t *testing.T) {
	for name, link := range map[string]string{
		"systemd, as a package": etcUnit + "multi-user.target.wants/" + watch,
		"OpenRC, built by hand": "/etc/runlevels/default/" + watcher,
	} {
		m := newMachine(t, kinds[name]...)
		before := m.tree()
		m.must(m.Enable(false))
		m.put(link, "")
		if said := m.must(m.Disable()); !strings.Contains(said, "neither restored at boot nor watched") ||
			m.tree() != before {
			t.Errorf("%s: disable says %q; files are\n%s", name, said, m.tree())
		}
	}
}

// A foreign or masked unit of the same name is not overwritten.
func TestForeignUnitIsNotOverwritten(t *testing.T) {
	for name, put := range map[string]func(m *machine){
		"was not written by portmap": func(m *machine) { m.put(etcUnit+unit, "[Service]\nExecStart=/opt/mine\n") },
		"is masked": func(m *machine) {
			m.put(etcUnit+"x", "")
			if err := os.Symlink(os.DevNull, m.path(etcUnit+unit)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		m := newMachine(t, kinds["systemd, built by hand"]...)
		put(m)
		before := m.tree()
		var foreign *ForeignError
		if _, err := m.Enable(false); !errors.As(err, &foreign) || !strings.Contains(err.Error(), name) ||
			foreign.Remedy() == "" || m.tree() != before {
			t.Errorf("%s: %v; files are\n%s", name, err, m.tree())
		}
		if said := m.must(m.Disable()); said != "restore at boot is off already" || m.tree() != before {
			t.Errorf("disable says %q; files are\n%s", said, m.tree())
		}
	}
}

// A foreign unit of the same name is not removed.
func TestForeignUnitStays(t *testing.T) {
	m := newMachine(t, kinds["systemd, as a package"]...)
	m.put(etcUnit+unit, "[Service]\nExecStart=/opt/mine\n")
	before := m.tree()
	m.must(m.Enable(false))
	m.must(m.Disable())
	if m.tree() != before {
		t.Errorf("files are\n%s", m.tree())
	}
}
