package boot

import (
	"errors"
	"os"
	"path/filepath"
)

const (
	unit    = "portmap-restore.service"
	reapply = "portmap-reapply.service"
	watch   = "portmap-watch.service"
	etcUnit = "/etc/systemd/system/"
)

// units returns the units of a package. The watch is not enabled with the others.
func units() []string { return []string{unit, reapply, watch} }

// vendorFolders returns the folders of packaged units (systemd.unit(5), "Unit File Load Path").
func vendorFolders() []string { return []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} }

type systemd struct{ Host }

// vendor returns the folder of the packaged unit, or "".
func (s systemd) vendor() string {
	for _, folder := range vendorFolders() {
		if s.exists(folder + unit) {
			return folder
		}
	}
	return ""
}

// masked returns the link to /dev/null, or the empty file, that keeps the unit from starting (systemd.unit(5)), or "".
func (s systemd) masked() string {
	for _, folder := range [...]string{etcUnit, "/run/systemd/system/"} {
		info, err := os.Lstat(s.path(folder + unit))
		target, _ := os.Readlink(s.path(folder + unit))
		if err == nil && (target == os.DevNull || info.Mode().IsRegular() && info.Size() == 0) {
			return folder + unit
		}
	}
	return ""
}

func unmask(unit string) string { return "sudo systemctl unmask " + unit }

// Drop-ins that give the units more rights.
const (
	legacyConf   = "iptables-legacy.conf"
	switchesConf = "switches.conf"
)

func dropIn(unit, name string) string { return etcUnit + unit + ".d/" + name }

func (s systemd) enable(legacy bool) (string, error) {
	if path := s.masked(); path != "" {
		return "", &ForeignError{path, true}
	}
	where, was, watched := s.vendor(), s.enabled(), s.watched()
	before, err := s.installUnits(where == "", legacy)
	if where == "" {
		where = etcUnit
	}
	if err == nil && len(before) == 0 && was {
		return "restore at boot is on already: " + where + unit, nil
	}
	if err == nil {
		err = s.switchOn(watched)
	}
	if err != nil {
		return "", errors.Join(err, s.undo(before, was))
	}
	return "mappings are restored at boot: " + where + unit, nil
}

// installUnits writes the units if no package has installed them; else it removes those that it wrote earlier. It
// writes the drop-ins if they are needed. It returns the old content of the files that it changed; nil for a new one.
func (s systemd) installUnits(all, legacy bool) (before map[string][]byte, err error) {
	before = map[string][]byte{}
	for _, u := range units() {
		for _, file := range [...]struct {
			path, name string
			wanted     bool
		}{
			{etcUnit + u, u, all}, {dropIn(u, legacyConf), legacyConf, legacy},
			{dropIn(u, switchesConf), switchesConf, s.Switches},
		} {
			old, _ := os.ReadFile(s.path(file.path))
			var changed bool
			if file.wanted {
				changed, err = s.write(file.name, file.path, 0o644)
			} else {
				changed, err = s.removeOwn(file.path)
			}
			if changed {
				before[file.path] = old
			}
			if err != nil {
				return before, err
			}
		}
	}
	return before, nil
}

// switchOn makes the links of the units again, since old ones may lead to other files, and starts the unit.
func (s systemd) switchOn(watched bool) error {
	list := []string{"--quiet", "reenable", unit}
	if watched {
		list = append(list, watch)
	}
	if err := s.Run("systemctl", "daemon-reload"); err != nil {
		return err
	}
	if err := s.Run("systemctl", list...); err != nil {
		return err
	}
	if err := s.Run("systemctl", "start", unit); err != nil {
		return &StartError{err}
	}
	return nil
}

// undo restores the state before an enable that failed.
func (s systemd) undo(before map[string][]byte, was bool) error {
	if !was && s.enabled() {
		_ = s.Run("systemctl", "--quiet", "disable", unit, reapply) // the first error matters more
	}
	if len(before) == 0 {
		return nil
	}
	for path, content := range before {
		var err error
		if content == nil {
			_, err = s.removeOwn(path)
		} else {
			// The folder of a drop-in was removed with it.
			err = errors.Join(os.MkdirAll(filepath.Dir(s.path(path)), 0o755),
				os.WriteFile(s.path(path), content, 0o644))
		}
		if err != nil {
			return err
		}
	}
	_ = s.Run("systemctl", "daemon-reload")
	return nil
}

// enabled reports whether the links that `systemctl enable` makes exist, and their targets.
func (s systemd) enabled() bool {
	return s.linked(etcUnit+"sysinit.target.wants/"+unit) && (s.exists(etcUnit+unit) || s.vendor() != "")
}

func (s systemd) watched() bool { return s.linked(etcUnit + "multi-user.target.wants/" + watch) }

// endWatch returns the command that stops both units that watch.
func (systemd) endWatch() string { return "sudo systemctl stop portmap-watch portmap-reapply" }

// disable also disables the watch, which would start the other unit.
func (s systemd) disable() (string, error) {
	was, watched := s.enabled(), s.watched()
	list := []string{"--quiet", "disable", unit, reapply}
	if watched {
		list = append(list, watch)
	}
	if was || watched {
		if err := s.Run("systemctl", list...); err != nil {
			return "", err
		}
	}
	changed := false
	for _, u := range units() {
		for _, path := range [...]string{etcUnit + u, dropIn(u, legacyConf), dropIn(u, switchesConf)} {
			removed, err := s.removeOwn(path)
			if err != nil {
				return "", err
			}
			changed = changed || removed
		}
	}
	if changed {
		if err := s.Run("systemctl", "daemon-reload"); err != nil {
			return "", err
		}
	}
	return disabledLine(was || changed, watched), nil
}

func (s systemd) state(legacy bool) State {
	if s.masked() != "" {
		return Masked
	}
	if s.enabled() && (!legacy || s.exists(dropIn(unit, legacyConf))) &&
		(!s.Switches || s.exists(dropIn(unit, switchesConf))) {
		return On
	}
	return Off
}
