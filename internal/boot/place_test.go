package boot

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/internal/shell"
)

// Enable refuses a command that another user may write, or that is missing at boot, and says where to put it.
func TestPlacesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		binary string
		change func(m *machine) error // makes the path unsafe
		says   string
	}{
		"a home":            {"/home/me/portmap", nil, "cannot rely on"},
		"root's home":       {"/root/bin/portmap", nil, "cannot rely on"},
		"a home below /var": {"/var/home/me/portmap", nil, "cannot rely on"},
		"temporary files":   {"/tmp/portmap", nil, "cannot rely on"},
		"everybody writes": {
			"/opt/x/portmap", func(m *machine) error { return os.Chmod(m.path("/opt/x/portmap"), 0o777) },
			"/opt/x/portmap can be written by others"},
		"a group writes": {
			"/opt/x/portmap", func(m *machine) error { return os.Chmod(m.path("/opt/x/portmap"), 0o775) },
			"can be written by others"},
		"everybody's folder": {
			"/opt/x/portmap", func(m *machine) error { return os.Chmod(m.path("/opt/x"), 0o777|os.ModeSticky) },
			"/opt/x can be written by others"},
		"everybody's, further": {"/opt/x/portmap", func(m *machine) error { return os.Chmod(m.path("/opt"), 0o757) },
			"/opt can be written by others"},
		"another's": {"/opt/x/portmap", func(m *machine) error { m.Owner++; return nil },
			"/opt/x/portmap belongs to another user"},
		"a space":     {"/opt/my tools/portmap", nil, "has a character"},
		"a specifier": {"/opt/100%n/portmap", nil, "has a character"},
		"a quote":     {"/opt/it's/portmap", nil, "has a character"},
		"a variable":  {"/opt/$HOME/portmap", nil, "has a character"},
		"it is gone": {"/opt/x/portmap", func(m *machine) error { return os.Remove(m.path("/opt/x/portmap")) },
			"no such file"},
	} {
		for _, kind := range []string{"systemd, as a package", "OpenRC, built by hand"} {
			m := newMachine(t, kinds[kind]...)
			m.put(c.binary, "")
			m.Binary = c.binary
			if c.change != nil {
				m.must("", c.change(m))
			}
			before := m.tree()
			_, err := m.Enable(false)
			var place *PlaceError
			if err == nil || !strings.Contains(err.Error(), c.says) || m.tree() != before {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			if errors.As(err, &place) && (!strings.Contains(place.Remedy(), "/usr/local/bin/portmap enable") ||
				!strings.Contains(place.Remedy(), shell.Quote(c.binary))) {
				t.Errorf("%s: %s", name, place.Remedy())
			}
		}
	}
}

// The remedy does not name a folder that is refused.
func TestEnableFromALocalFolderOfAGroup(t *testing.T) {
	for path, remedy := range map[string]string{
		"/usr/local/bin":         "sudo chown root /usr/local/bin && sudo chmod go-w /usr/local/bin",
		"/usr/local/bin/portmap": "sudo chown root /usr/local/bin/portmap && sudo chmod go-w /usr/local/bin/portmap",
	} {
		m := newMachine(t, kinds["systemd, as a package"]...)
		m.Binary = "/usr/local/bin/portmap"
		m.put(m.Binary, "")
		m.must("", os.Chmod(m.path(path), 0o775))
		_, err := m.Enable(false)
		var place *PlaceError
		if !errors.As(err, &place) || place.Remedy() != remedy {
			t.Errorf("%s: %v, %+v", path, err, place)
		}
	}
}

// A file or command that the unit cannot see or start is an error, and the remedy names the command to type.
func TestEnableReportsObstacles(t *testing.T) {
	for name, c := range map[string]struct {
		link, target string
		remedy       string // empty for no error
	}{
		"masked": {etcUnit + unit, os.DevNull, "sudo systemctl unmask portmap-restore.service"},
		"masked until the next boot": {"/run/systemd/system/" + unit, os.DevNull,
			"sudo systemctl unmask portmap-restore.service"},
		"the file is in a home":          {file, "/root/ports", "readlink -f"},
		"its folder is":                  {"/etc/portmap", "../home/me/ports", "readlink -f"},
		"it is a link to another":        {file, "here", ""},
		"it is a link to somewhere else": {file, "../../srv/ports", ""},
	} {
		m := newMachine(t, kinds["systemd, as a package"]...)
		m.must(m.Enable(false)) // that it was on makes no difference
		if c.link == etcUnit+unit {
			_ = os.Remove(m.path(c.link))
		}
		m.must("", errors.Join(os.MkdirAll(filepath.Dir(m.path(c.link)), 0o755), os.Symlink(c.target, m.path(c.link))))
		_, err := m.Enable(false)
		var remedied interface{ Remedy() string }
		if (err != nil) != (c.remedy != "") || err != nil &&
			(!errors.As(err, &remedied) || !strings.Contains(remedied.Remedy(), c.remedy)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// odd is a path with every accepted character that could be special.
const odd = "/opt/a-b_c+d,e@f.g/portmap"

// systemd itself accepts the written unit.
func TestUnitsParse(t *testing.T) {
	lab.Need(t, "systemd-analyze")
	m := newMachine(t, kinds["systemd, built by hand"]...)
	m.put(odd, "#!/bin/sh\n")
	m.Binary = odd
	m.must(m.Enable(true))
	for _, u := range units() {
		said, _ := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
			m.path(etcUnit+u)).CombinedOutput()
		for line := range strings.Lines(string(said)) {
			// The command is in the folder of the test, not where the unit says.
			if strings.Contains(line, u) && !strings.Contains(line, "Command "+odd+" is not executable") {
				t.Errorf("%s: %s", u, line)
			}
		}
	}
}

// OpenRC's scripts run the right command, with sh.
func TestScriptsRun(t *testing.T) {
	m := newMachine(t, kinds["OpenRC, built by hand"]...)
	m.put(odd, "")
	m.Binary = odd
	m.must(m.Enable(false))
	for _, function := range []string{"start", "stop", "reload"} {
		// The commands of openrc-run, and portmap itself, are functions here.
		run := exec.Command("sh", "-euc", `ebegin() { :; }; eend() { return "$1"; }; . "$0"; `+function,
			m.path(script(service)))
		m.put(odd, "#!/bin/sh\necho \"$0 $*\"\n")
		content := strings.ReplaceAll(string(m.read(script(service))), odd, m.path(odd))
		m.must("", os.WriteFile(m.path(script(service)), []byte(content), 0o755))
		said, err := run.CombinedOutput()
		if want := map[string]string{"start": "apply --keep-going", "stop": "flush",
			"reload": "apply --keep-going"}[function]; err != nil || string(said) != m.path(odd)+" --quiet "+want+"\n" {
			t.Errorf("%s: %v, %s", function, err, said)
		}
		m.must("", os.WriteFile(m.path(script(service)), []byte(strings.ReplaceAll(content, m.path(odd), odd)), 0o755))
	}
	said, err := exec.Command("sh", "-euc", `. "$0"; echo "$command $command_args"`,
		m.path(script(watcher))).CombinedOutput()
	if err != nil || string(said) != odd+" watch\n" {
		t.Errorf("%v, %s", err, said)
	}
}

func (m *machine) read(path string) []byte {
	content, err := os.ReadFile(m.path(path))
	m.must("", err)
	return content
}
