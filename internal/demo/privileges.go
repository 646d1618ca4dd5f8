package demo

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the overflow uid and gid (proc(5), /proc/sys/kernel/overflowuid).
const nobody = 65534

// squatter is the uid and gid of another user. It needs no account.
const squatter = 65533

// serverUser is who the server runs as: nobody, or nil where this process cannot become another user.
func serverUser() *syscall.Credential { return credential(nobody) }

// squatterUser is who takes the port of the server. It is nil where this process cannot become two other users.
func squatterUser() *syscall.Credential {
	if serverUser() == nil {
		return nil
	}
	return credential(squatter)
}

// credential is that of a user and a group with this number, or nil where this process cannot become them.
func credential(id uint32) *syscall.Credential {
	if os.Geteuid() != 0 || !isMapped("/proc/self/uid_map", uint64(id)) || !isMapped("/proc/self/gid_map", uint64(id)) {
		return nil
	}
	return &syscall.Credential{Uid: id, Gid: id}
}

func isMapped(file string, id uint64) bool {
	text, err := os.ReadFile(file)
	return err == nil && maps(string(text), id)
}

// maps tells whether id exists in a user namespace with these lines: first inside, first outside, how many
// (user_namespaces(7)).
func maps(lines string, id uint64) bool {
	for line := range strings.Lines(lines) {
		var first, outside, count uint64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err == nil && id >= first && id-first < count {
			return true
		}
	}
	return false
}

// giveUpPrivileges makes sure that what this thread starts cannot get any back by running a program. Where the user
// will not change, which takes the capabilities away, they go here: also from a uid 0, which a program would give them
// back to.
func giveUpPrivileges(userChanges bool) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if userChanges {
		return nil
	}
	var none [2]unix.CapUserData // version 3 has two words, capget(2)
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}
