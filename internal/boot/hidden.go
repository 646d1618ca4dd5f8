package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"portmap/internal/shell"
)

// HiddenError says that the file of mappings is a link to a place that the boot unit does not see.
type HiddenError struct{ File, At string }

func (e *HiddenError) Error() string {
	return e.File + " leads to " + e.At + ", which the boot unit does not see"
}

// Remedy returns the command that replaces the link by the file.
func (e *HiddenError) Remedy() string { return bringBack(e.File) }

// bringBack returns the command that replaces a link by its target.
func bringBack(file string) string {
	file = shell.Quote(file)
	return "sudo cp --remove-destination \"$(readlink -f " + file + ")\" " + file
}

// hidden returns the real path of a file if ProtectHome= or PrivateTmp= hides it from the units (systemd.exec(5)).
func (s systemd) hidden(file string) string {
	at := s.resolve(file)
	for _, place := range [...]string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
		if strings.HasPrefix(at, place) {
			return at
		}
	}
	return ""
}

// resolve follows the symbolic links of a path on the host. After a missing name the rest stays as it is.
func (h Host) resolve(path string) string {
	rest := strings.Split(path, "/")
	at := "/"
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		target, err := os.Readlink(h.path(next))
		if rest = rest[1:]; err != nil {
			at = next
			continue
		}
		if links++; links > 40 { // MAXSYMLINKS, include/linux/namei.h
			return next
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = slices.Concat(strings.Split(target, "/"), rest)
	}
	return at
}
