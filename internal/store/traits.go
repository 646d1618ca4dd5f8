package store

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// traits keep a file or folder from being replaced although its mode allows it.
type traits struct {
	mounted    bool // it is mounted by itself: rename(2) over it fails with EBUSY
	immutable  bool // chattr +i: every change fails with EPERM, also for root
	appendOnly bool // chattr +a: it can be neither replaced nor renamed
}

// traitsOf asks statx(2), which reports mounts since Linux 5.8. A missing file, or a file system without such
// attributes, has none.
func traitsOf(path string) traits {
	var found unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &found); err != nil {
		return traits{}
	}
	has := func(attribute uint64) bool { return found.Attributes&attribute != 0 }
	return traits{has(unix.STATX_ATTR_MOUNT_ROOT), has(unix.STATX_ATTR_IMMUTABLE), has(unix.STATX_ATTR_APPEND)}
}

func (t traits) fixed() bool { return t.immutable || t.appendOnly }

// changeable returns an [*ImmutableError] for the first path that cannot be changed.
func changeable(paths ...string) error {
	for _, path := range paths {
		switch t := traitsOf(path); {
		case t.immutable:
			return &ImmutableError{path, "immutable", "i"}
		case t.appendOnly:
			return &ImmutableError{path, "append-only", "a"}
		}
	}
	return nil
}

// fixedFolder reports whether files can be neither added to the folder nor removed from it.
func (p place) fixedFolder() bool { return traitsOf(filepath.Dir(p.path)).fixed() }
