package boot

import (
	"errors"
	"os"
	"path/filepath"
)

const (
	service = "portmap-restore"
	watcher = "portmap-watch"
)

func script(service string) string { return "/etc/init.d/" + service }

type openrc struct{ Host }

func (o openrc) enable(bool) (string, error) {
	var wrote []string
	for _, s := range [...]string{service, watcher} { // the watch is written, but not enabled
		if o.exists(script(s)) && !o.own(s) {
			continue
		}
		changed, err := o.write(s+".openrc", script(s), 0o755)
		if err != nil {
			return "", errors.Join(err, o.undo(wrote))
		}
		if changed {
			wrote = append(wrote, s)
		}
	}
	on := o.enabled()
	if len(wrote) == 0 && on {
		return "restore at boot is on already: " + script(service), nil
	}
	if !on {
		if err := o.Run("rc-update", "--quiet", "add", service, "boot"); err != nil {
			return "", errors.Join(err, o.undo(wrote))
		}
	}
	return "mappings are restored at boot: " + script(service), nil
}

// undo removes the files of an enable that failed.
func (o openrc) undo(wrote []string) error {
	for _, s := range wrote {
		if _, err := o.removeOwn(script(s)); err != nil {
			return err
		}
	}
	return nil
}

// own reports whether Enable wrote the script.
func (o openrc) own(service string) bool {
	content, err := os.ReadFile(o.path(script(service)))
	return err == nil && marked(content)
}

func (o openrc) enabled() bool { return len(o.levels(service)) > 0 }

// levels returns the runlevels that have a service: rc-update makes links.
func (o openrc) levels(service string) (names []string) {
	links, err := filepath.Glob(o.path("/etc/runlevels/*/" + service))
	if err != nil {
		return nil // impossible: the pattern is valid
	}
	for _, link := range links {
		names = append(names, filepath.Base(filepath.Dir(link)))
	}
	return names
}

// disable also disables the watch, which needs the other service and would start it.
func (o openrc) disable() (string, error) {
	was, watched, removed := o.enabled(), len(o.levels(watcher)) > 0, false
	for _, s := range [...]string{watcher, service} {
		if levels := o.levels(s); len(levels) > 0 {
			// Not --all, which fails for each runlevel without the service.
			if err := o.Run("rc-update", append([]string{"--quiet", "del", s}, levels...)...); err != nil {
				return "", err
			}
		}
		gone, err := o.removeOwn(script(s))
		if err != nil {
			return "", err
		}
		removed = removed || gone
	}
	return disabledLine(was || removed, watched), nil
}

func (openrc) endWatch() string { return "sudo rc-service portmap-watch stop" }

// hidden returns "": OpenRC's scripts see the whole host.
func (o openrc) hidden(string) string { return "" }

func (o openrc) state(bool) State {
	if o.enabled() {
		return On
	}
	return Off
}
