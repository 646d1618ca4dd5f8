package store

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// traits are what keeps a file or folder from being replaced, though modes allow it.
type traits struct {
	mounted    bool // it is mounted by itself: rename(2) over it fails with EBUSY
	immutable  bool // chattr +i: every change fails with EPERM, also for root
	appendOnly bool // chattr +a: it can be neither replaced nor renamed
}

// traitsOf asks statx(2), since Linux 5.8 for mounts. What is missing, or on a file system without such attributes, has
// none.
func traitsOf(path string) traits {
	var found unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &found); err != nil {
		return traits{}
	}
	has := func(attribute uint64) bool { return found.Attributes&attribute != 0 }
	return traits{has(unix.STATX_ATTR_MOUNT_ROOT), has(unix.STATX_ATTR_IMMUTABLE), has(unix.STATX_ATTR_APPEND)}
}

func (t traits) fixed() bool { return t.immutable || t.appendOnly }

// changeable says which of these paths cannot be changed, and how to have it otherwise.
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

// fixedFolder reports whether the folder takes no new files and gives none away.
func (p place) fixedFolder() bool { return traitsOf(filepath.Dir(p.path)).fixed() }
