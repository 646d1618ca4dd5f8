package boot

const (
	unit    = "portmap-restore.service"
	etcUnit = "/etc/systemd/system/"
)

// units are what a package brings. The watch is not enabled with the others.
func units() []string { return []string{unit, "portmap-reapply.service", "portmap-watch.service"} }

// vendorFolders are where packages put units (systemd.unit(5), "Unit File Load Path").
func vendorFolders() []string { return []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} }

type systemd struct{ Host }

// vendor returns where the package's unit is, or "".
func (s systemd) vendor() string {
	for _, folder := range vendorFolders() {
		if s.has(folder + unit) {
			return folder
		}
	}
	return ""
}

func dropIn(unit string) string { return etcUnit + unit + ".d/iptables-legacy.conf" }

func (s systemd) enable(legacy bool) (string, error) {
	where := s.vendor()
	wrote, err := s.lay(where == "", legacy)
	if where == "" {
		where = etcUnit
	}
	if err == nil && len(wrote) == 0 && s.enabled() {
		return "restore at boot is on already: " + where + unit, nil
	}
	if err == nil {
		err = s.Run("systemctl", "daemon-reload")
	}
	if err == nil {
		err = s.Run("systemctl", "--quiet", "enable", "--now", unit)
	}
	if err != nil {
		for _, path := range wrote {
			_, _ = s.unwrite(path) // what it said matters more
		}
		return "", err
	}
	return "mappings are restored at boot: " + where + unit, nil
}

// lay writes the units, where no package has brought them, and the drop-ins, where they are needed. It returns what it wrote.
func (s systemd) lay(all, legacy bool) (wrote []string, err error) {
	for _, u := range units() {
		files := map[string]string{}
		if all {
			files[etcUnit+u] = u
		}
		if legacy {
			files[dropIn(u)] = "iptables-legacy.conf"
		} else if _, err := s.unwrite(dropIn(u)); err != nil {
			return wrote, err
		}
		for path, name := range files {
			changed, err := s.write(name, path, 0o644)
			if err != nil {
				return wrote, err
			}
			if changed {
				wrote = append(wrote, path)
			}
		}
	}
	return wrote, nil
}

// enabled looks for the links that `systemctl enable` makes.
func (s systemd) enabled() bool { return s.has(etcUnit + "sysinit.target.wants/" + unit) }

func (s systemd) disable() (string, error) {
	was := s.enabled()
	if was {
		if err := s.Run("systemctl", "--quiet", "disable", unit, "portmap-reapply.service"); err != nil {
			return "", err
		}
	}
	changed := false
	for _, u := range units() {
		for _, path := range [...]string{etcUnit + u, dropIn(u)} {
			removed, err := s.unwrite(path)
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
	if !was && !changed {
		return "restore at boot is off already", nil
	}
	return "mappings are not restored at boot any more; those that are live stay", nil
}

func (s systemd) state(legacy bool) State {
	if s.enabled() && (!legacy || s.has(dropIn(unit))) {
		return On
	}
	return Off
}
