package boot

import (
	"embed"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

//go:embed portmap-restore.service portmap-reapply.service portmap-watch.service portmap-restore.openrc portmap-watch.openrc iptables-legacy.conf
var files embed.FS

// packaged is where the units and scripts look for the command.
const packaged = "/usr/bin/portmap"

// mark is the first line of a unit that [Host.Enable] wrote: only such a one is removed again.
const mark = "# Written by `portmap enable`, removed by `portmap disable`.\n"

// Host is a machine that boots.
type Host struct {
	Root   string                                  // where its file system is; empty for /
	Owner  uint32                                  // whom its programs belong to: 0, root
	Binary string                                  // the path of this command, on that host
	File   string                                  // the file that is applied at boot, on that host
	Run    func(name string, args ...string) error // runs a program of the host
}

// State is what is known about the next boot.
type State int

// The states.
const (
	Nobody State = iota // there is no init system that is known here
	Off                 // mappings are not restored
	On
	Masked // nor can they be: somebody does not want the unit to start
)

// NoInitError says that there is nothing to be switched.
type NoInitError struct {
	Off bool // it was to be switched off
}

func (*NoInitError) Error() string { return "neither systemd nor OpenRC runs this host" }

// Remedy returns what to do instead; nothing, where it was to be switched off.
func (e *NoInitError) Remedy() string {
	if e.Off {
		return ""
	}
	return "have the init system run `portmap apply --keep-going` once the file systems are mounted"
}

// ForeignError says that where a unit is to be written there is one that portmap did not write.
type ForeignError struct {
	Path   string
	Masked bool // somebody does not want it to start: systemctl(1), mask
}

func (e *ForeignError) Error() string {
	if e.Masked {
		return e.Path + " is masked"
	}
	return e.Path + " was not written by portmap"
}

// Remedy returns what to do first.
func (e *ForeignError) Remedy() string {
	if e.Masked {
		return unmask(filepath.Base(e.Path))
	}
	return "move it away, then do it again"
}

// StartError says that the mappings could not be restored, at the first time or at all.
type StartError struct{ error }

func (e *StartError) Unwrap() error { return e.error }

// Remedy returns where to see why.
func (*StartError) Remedy() string { return "sudo journalctl -u portmap-restore" }

func (h Host) path(path string) string { return filepath.Join("/", h.Root, path) }

func (h Host) exists(path string) bool {
	_, err := os.Stat(h.path(path))
	return err == nil
}

// linked is exists, and true also for a link that leads nowhere: those of an enabled unit are absolute.
func (h Host) linked(path string) bool {
	_, err := os.Lstat(h.path(path))
	return err == nil
}

// init is an init system.
type initSystem interface {
	enable(legacy bool) (string, error)
	disable() (string, error)
	state(legacy bool) State
	endWatch() string
	hidden(file string) string // where a file really is, if it cannot be seen from there at boot
}

func (h Host) init() initSystem {
	switch {
	case h.exists("/run/systemd/system"): // sd_booted(3)
		return systemd{h}
	case h.exists("/sbin/openrc-run") || h.exists("/usr/sbin/openrc-run"):
		return openrc{h}
	}
	return nil
}

// Enable has mappings restored at boot, and returns in one line what was done. It can be called again. With legacy,
// rules are those of iptables-legacy, which needs more rights. The error is a [*NoInitError], a [*PlaceError], a
// [*HiddenError], a [*ForeignError], or what a program said.
func (h Host) Enable(legacy bool) (string, error) {
	system := h.init()
	if system == nil {
		return "", &NoInitError{}
	}
	if err := h.checkBinary(); err != nil {
		return "", err
	}
	if hidden := system.hidden(h.File); hidden != "" {
		return "", &HiddenError{h.File, hidden}
	}
	return system.enable(legacy)
}

// Disable ends that. What is live stays live. It removes only what Enable wrote.
func (h Host) Disable() (string, error) {
	system := h.init()
	if system == nil {
		return "", &NoInitError{Off: true}
	}
	return system.disable()
}

// offNow says what a Disable came to.
func offNow(was, watched bool) string {
	switch {
	case watched:
		return "mappings are neither restored at boot nor watched any more; those that are live stay"
	case was:
		return "mappings are not restored at boot any more; those that are live stay"
	}
	return "restore at boot is off already"
}

// EndWatch returns what ends the watches of the boot units; where there are none, what finds one.
func (h Host) EndWatch() string {
	if system := h.init(); system != nil {
		return system.endWatch()
	}
	return "`pgrep -af 'portmap .*watch'` finds it"
}

// State tells what the next boot will do, as far as files show it.
func (h Host) State(legacy bool) State {
	system := h.init()
	if system == nil {
		return Nobody
	}
	return system.state(legacy)
}

// write puts one of the embedded files on the host, with the command's own path in it, and reports whether it changed
// anything. What somebody else put there stays, and is a [*ForeignError].
func (h Host) write(name, to string, mode os.FileMode) (bool, error) {
	content, err := files.ReadFile(name)
	if err != nil {
		return false, err
	}
	text := strings.ReplaceAll(string(content), packaged, h.Binary)
	if first, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(first, "#!") {
		text = first + "\n" + mark + rest
	} else {
		text = mark + text
	}
	path := h.path(to)
	switch old, err := os.ReadFile(path); {
	case err == nil && string(old) == text:
		return false, nil
	case err == nil && !marked(old):
		link, _ := os.Readlink(path)
		return false, &ForeignError{to, link == os.DevNull}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	if err := os.WriteFile(path+".new", []byte(text), mode); err != nil {
		return false, errors.Join(err, os.RemoveAll(path+".new"))
	}
	return true, os.Rename(path+".new", path)
}

func marked(content []byte) bool { return strings.Contains(string(content), mark) }

// removeOwn removes a file that portmap wrote, and no other.
func (h Host) removeOwn(path string) (bool, error) {
	content, err := os.ReadFile(h.path(path))
	if errors.Is(err, os.ErrNotExist) || err == nil && !marked(content) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := os.Remove(h.path(path)); err != nil {
		return false, err
	}
	_ = os.Remove(filepath.Dir(h.path(path))) // a folder of drop-ins that is empty now
	return true, nil
}
