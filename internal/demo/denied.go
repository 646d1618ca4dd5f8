package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// denied is a system that does not let this user make namespaces: root may.
type denied struct{ why string }

func (e denied) Error() string { return e.why }

func (e denied) Is(target error) bool { return target == fs.ErrPermission }

// refused makes a sentence of an error that came when namespaces were to be made or filled.
func refused(err error) error { return refusal(err, os.Geteuid(), os.DirFS("/proc/sys")) }

func refusal(err error, uid int, sysctl fs.FS) error {
	// clone(2) has ENOSPC for the limit of user namespaces, EPERM and EINVAL for kernels that have none for users;
	// security modules answer with EACCES, and let the namespace be made but nothing be done in it.
	switch {
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) &&
		!errors.Is(err, unix.EINVAL):
		return fmt.Errorf("make a throw-away network: %w", err)
	case uid == 0: // the number would be taken for a lack of root
		return fmt.Errorf("root may not make a network of its own here, as in most containers (%s); run it outside",
			reason(err))
	}
	why := "this system does not let ordinary users make a network of their own"
	if name := switchedOff(sysctl); name != "" {
		why += " (" + name + ")"
	}
	return denied{why + "; try: sudo portmap demo"}
}

// switchedOff returns the setting that forbids user namespaces: the kernel's own limit (namespaces(7)), Debian's
// switch, or AppArmor's.
func switchedOff(sysctl fs.FS) string {
	for _, setting := range [...]struct{ name, off string }{
		{"user.max_user_namespaces", "0"},
		{"kernel.unprivileged_userns_clone", "0"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1"},
	} {
		value, err := fs.ReadFile(sysctl, strings.ReplaceAll(setting.name, ".", "/"))
		if err == nil && strings.TrimSpace(string(value)) == setting.off {
			return setting.name + "=" + setting.off
		}
	}
	return ""
}
