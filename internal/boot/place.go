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

// PlaceError says that a boot unit cannot rely on the place of the command: another user may write there, or it is not
// mounted yet at boot.
type PlaceError struct {
	Binary string
	Why    string // continues the sentence that Binary or Part begins
	Part   string // the folder on the path that is the reason; empty for the file itself
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

// privatePlaces returns folders of users, and folders that are empty or not mounted when the host boots. A unit with
// ProtectHome= sees the first three empty (systemd.exec(5)).
func privatePlaces() []string {
	return []string{"/home/", "/root/", "/run/", "/var/home/", "/tmp/", "/var/tmp/", "/dev/", "/proc/"}
}

// checkBinary refuses a command that a unit cannot run, or that another user can change: the file, and each folder on
// the path. The path has no symbolic links.
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

// notRoots returns why another user than root can change a file or folder; "" if none can. An access-control list that
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

// isPlain reports whether a path is one word without special characters for systemd (systemd.service(5), "Command
// lines"), for sh and for OpenRC's scripts.
func isPlain(path string) bool {
	return !strings.ContainsFunc(path, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
			!strings.ContainsRune("/._-+,@", r)
	})
}
