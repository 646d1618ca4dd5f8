package boot

import (
	"context"
	"embed"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"portmap/internal/finding"
)

//go:embed portmap-restore.service portmap-reapply.service portmap-watch.service portmap-restore.openrc portmap-watch.openrc iptables-legacy.conf switches.conf
var files embed.FS

// packaged is the path of the command in the units and scripts.
const packaged = "/usr/bin/portmap"

// mark is the first line of a unit that [Host.Enable] wrote. Only units with it are removed again.
const mark = "# Written by `portmap enable`, removed by `portmap disable`.\n"

// Host is a machine that boots.
type Host struct {
	Root   string                                  // the folder of its file system; empty for /
	Owner  uint32                                  // the owner of its programs: 0, root
	Binary string                                  // the path of this command, on that host
	File   string                                  // the file that is applied at boot, on that host
	Run    func(name string, args ...string) error // runs a program of the host

	// Query runs a program of the host that only looks, and returns what it prints; nil where nothing may be run.
	Query func(ctx context.Context, name string, args ...string) (string, error)

	Switches bool // mappings need switches of the kernel, and the units may set them
}

// State says whether the next boot restores mappings.
type State int

// The states.
const (
	NoInit State = iota // the host has no known init system
	Off                 // mappings are not restored
	On
	Masked // the unit cannot start, since an administrator masked it
)

// NoInitError says that the host has no known init system.
type NoInitError struct {
	Off bool // the request was to disable
}

func (*NoInitError) Error() string { return "neither systemd nor OpenRC runs this host" }

// Remedy returns what to do instead; "" if the request was to disable.
func (e *NoInitError) Remedy() string {
	if e.Off {
		return ""
	}
	return "have the init system run `portmap apply --keep-going` once the file systems are mounted"
}

// ForeignError says that the path of a unit has a file that portmap did not write.
type ForeignError struct {
	Path   string
	Masked bool // an administrator masked it: systemctl(1), mask
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

// StartError says that the unit did not start, so the mappings could not be restored.
type StartError struct{ error }

func (e *StartError) Unwrap() error { return e.error }

// Remedy returns where to see why.
func (*StartError) Remedy() string { return "sudo journalctl -u portmap-restore" }

func (h Host) path(path string) string { return filepath.Join("/", h.Root, path) }

func (h Host) exists(path string) bool {
	_, err := os.Stat(h.path(path))
	return err == nil
}

// linked is like exists, but true also for a dangling link: the links of an enabled unit are absolute.
func (h Host) linked(path string) bool {
	_, err := os.Lstat(h.path(path))
	return err == nil
}

// initSystem is systemd or OpenRC.
type initSystem interface {
	enable(legacy bool) (string, error)
	disable() (string, error)
	state(legacy bool) State
	endWatch() string
	failed(ctx context.Context) []finding.Finding
	hidden(file string) string // the real path of a file that the boot unit does not see; "" if it does
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

// Enable makes the host restore mappings at boot, and returns one line about what was done. It can be called again.
// With legacy, the unit gets the rights that iptables-legacy needs. The error is a [*NoInitError], a [*PlaceError], a
// [*HiddenError], a [*ForeignError], or that of a program.
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

// Disable undoes Enable. Live mappings stay live. It removes only files that Enable wrote.
func (h Host) Disable() (string, error) {
	system := h.init()
	if system == nil {
		return "", &NoInitError{Off: true}
	}
	return system.disable()
}

// disabledLine returns the line about what Disable did.
func disabledLine(was, watched bool) string {
	switch {
	case watched:
		return "mappings are neither restored at boot nor watched any more; those that are live stay"
	case was:
		return "mappings are not restored at boot any more; those that are live stay"
	}
	return "restore at boot is off already"
}

// EndWatch returns the command that ends the watches of the boot units; without an init system, the one that finds
// them.
func (h Host) EndWatch() string {
	if system := h.init(); system != nil {
		return system.endWatch()
	}
	return "`pgrep -af 'portmap .*watch'` finds it"
}

// State returns what the next boot will do, as far as files show it.
func (h Host) State(legacy bool) State {
	system := h.init()
	if system == nil {
		return NoInit
	}
	return system.state(legacy)
}

// write writes one of the embedded files to the host, with the path of this command, and reports whether it changed
// anything. A foreign file stays, and is a [*ForeignError].
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

// removeOwn removes a file only if portmap wrote it.
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
	_ = os.Remove(filepath.Dir(h.path(path))) // a folder of drop-ins, if it is empty now
	return true, nil
}
