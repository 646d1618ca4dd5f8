// Package accounts knows the users of this host: a name for a uid, and the other way round.
//
// Names come from /etc/passwd. A user that only a directory service knows, such as LDAP or systemd's dynamic users, has
// no name here.
package accounts

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
)

// file is what names come from. Where they come from elsewhere, as with cgo, the file still tells of most changes.
const file = "/etc/passwd"

// Users looks users up, and remembers them until the file changes. The zero value is ready. It is safe for use by
// several goroutines.
type Users struct {
	mutex sync.Mutex
	known map[string]uint32
	mark  mark
}

// mark is how the file was when names were looked up.
type mark struct {
	inode    uint64
	size     int64
	modified syscall.Timespec
}

// UID returns the uid that a user has now. The error is one phrase.
func (u *Users) UID(name string) (uint32, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if now := markOf(file); u.known == nil || now != u.mark {
		u.known, u.mark = map[string]uint32{}, now
	}
	if uid, known := u.known[name]; known {
		return uid, nil
	}
	found, err := user.Lookup(name)
	switch {
	case errors.As(err, new(user.UnknownUserError)), errors.Is(err, os.ErrNotExist):
		return 0, errors.New("no such user on this host")
	case err != nil:
		return 0, fmt.Errorf("the user cannot be looked up: %w", err)
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("has the uid %q", found.Uid)
	}
	u.known[name] = uint32(uid)
	return uint32(uid), nil
}

func markOf(path string) mark {
	var s syscall.Stat_t
	if syscall.Stat(path, &s) != nil {
		return mark{}
	}
	return mark{s.Ino, s.Size, s.Mtim}
}

// Name returns the name of a uid, or the uid itself if it has none.
func Name(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}
