package boot

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"portmap/internal/shell"
)

// PlaceError says that the command is where no boot unit can rely on it: root would run what another user may write, or
// what is not there yet at boot.
type PlaceError struct {
	Binary string
	Why    string // reads on after Binary or Part
	Part   string // the folder on the way that is the reason; empty for the file itself
}

func (e *PlaceError) Error() string {
	if e.Part != "" {
		return fmt.Sprintf("%s: %s %s", e.Binary, e.Part, e.Why)
	}
	return e.Binary + " " + e.Why
}

// Remedy returns what to do first.
func (e *PlaceError) Remedy() string {
	const good = "/usr/local/bin/portmap"
	if e.Part == "" && e.Binary == good || e.Part != "" && strings.HasPrefix(good, e.Part) {
		at := cmp.Or(e.Part, e.Binary)
		return "sudo chown root " + at + " && sudo chmod go-w " + at
	}
	return "sudo install -m 755 " + shell.Quote(e.Binary) + " " + good + ", then sudo " + good + " enable"
}

// privatePlaces are folders of users, or such as are empty or not mounted when the host boots. A unit with ProtectHome=
// sees the first three empty (systemd.exec(5)).
func privatePlaces() []string {
	return []string{"/home/", "/root/", "/run/", "/var/home/", "/tmp/", "/var/tmp/", "/dev/", "/proc/"}
}

// checkBinary refuses a command that a unit cannot run, or that is not root's alone: the file, and each folder on the
// way. The path is free of symbolic links.
func (h Host) checkBinary() error {
	for _, place := range privatePlaces() {
		if strings.HasPrefix(h.Binary, place) {
			return &PlaceError{Binary: h.Binary, Why: "is in a place that a boot unit cannot rely on"}
		}
	}
	if !isPlain(h.Binary) {
		return &PlaceError{Binary: h.Binary,
			Why: "has a character in its path that units and scripts take for something else"}
	}
	for path := h.Binary; ; path = filepath.Dir(path) {
		info, err := os.Lstat(h.path(path))
		if err != nil {
			return err
		}
		if why := h.notRoots(info); why != "" {
			e := &PlaceError{Binary: h.Binary, Why: why}
			if path != h.Binary {
				e.Part = path
			}
			return e
		}
		if path == "/" || path == "." {
			return nil
		}
	}
}

// notRoots says why something can be changed by another user than root; "" where it cannot. An access-control list that
// lets others write shows as the group's write bit (acl(5)).
func (h Host) notRoots(info fs.FileInfo) string {
	switch {
	case info.Sys().(*syscall.Stat_t).Uid != h.Owner:
		return "belongs to another user than root"
	case info.Mode()&0o022 != 0:
		return "can be written by others than root"
	}
	return ""
}

// isPlain reports whether a path is one word, and means itself, to systemd (systemd.service(5), "Command lines"), to sh
// and to whatever OpenRC's scripts hand it to.
func isPlain(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("/._-+,@", r)
	})
}
