package boot

import (
	"os"
	"path/filepath"
)

const (
	service = "portmap-restore"
	script  = "/etc/init.d/" + service
)

type openrc struct{ Host }

func (o openrc) enable(bool) (string, error) {
	wrote := false
	if !o.has(script) || o.own() {
		var err error
		if wrote, err = o.write("portmap-restore.openrc", script, 0o755); err != nil {
			return "", err
		}
	}
	if !wrote && o.enabled() {
		return "restore at boot is on already: " + script, nil
	}
	if !o.enabled() {
		if err := o.Run("rc-update", "--quiet", "add", service, "boot"); err != nil {
			return "", err
		}
	}
	return "mappings are restored at boot: " + script, nil
}

// own reports whether Enable wrote the script.
func (o openrc) own() bool {
	content, err := os.ReadFile(o.path(script))
	return err == nil && marked(content)
}

func (o openrc) enabled() bool { return len(o.levels()) > 0 }

// levels returns the runlevels that have the service: rc-update makes links.
func (o openrc) levels() (names []string) {
	links, err := filepath.Glob(o.path("/etc/runlevels/*/" + service))
	if err != nil {
		return nil // the pattern is wrong, which it is not
	}
	for _, link := range links {
		names = append(names, filepath.Base(filepath.Dir(link)))
	}
	return names
}

func (o openrc) disable() (string, error) {
	was := o.enabled()
	if was {
		// Not --all, which fails for each runlevel that does not have it.
		if err := o.Run("rc-update", append([]string{"--quiet", "del", service}, o.levels()...)...); err != nil {
			return "", err
		}
	}
	removed, err := o.unwrite(script)
	if err != nil {
		return "", err
	}
	if !was && !removed {
		return "restore at boot is off already", nil
	}
	return "mappings are not restored at boot any more; those that are live stay", nil
}

func (o openrc) state(bool) State {
	if o.enabled() {
		return On
	}
	return Off
}
