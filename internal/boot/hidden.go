package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"portmap/internal/shell"
)

// HiddenError says that the file of mappings is, behind links, where the boot unit does not see it.
type HiddenError struct{ File, At string }

func (e *HiddenError) Error() string {
	return e.File + " leads to " + e.At + ", which the boot unit does not see"
}

// Remedy returns what to do first.
func (e *HiddenError) Remedy() string { return bringBack(e.File) }

// bringBack puts the content where the link is.
func bringBack(file string) string {
	file = shell.Quote(file)
	return "sudo cp --remove-destination \"$(readlink -f " + file + ")\" " + file
}

// hidden returns where a file really is, if ProtectHome= or PrivateTmp= hides that from the units (systemd.exec(5)).
func (s systemd) hidden(file string) string {
	at := s.resolve(file)
	for _, place := range [...]string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
		if strings.HasPrefix(at, place) {
			return at
		}
	}
	return ""
}

// resolve follows the symbolic links of a path on the host; of what is not there, the rest stays as it is.
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
