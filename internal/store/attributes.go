package store

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	aclAttribute = "system.posix_acl_access" // acl(5), include/uapi/linux/xattr.h
	longestValue = 64 << 10                  // XATTR_SIZE_MAX, include/uapi/linux/limits.h
	longestList  = 64 << 10                  // XATTR_LIST_MAX
)

// copyAttributes gives a new file the owner, mode (without set-id bits), access-control list and other extended
// attributes of another.
//
// With an access-control list, the group bits of the mode are its mask, the upper bound for every entry with a name
// (acl(5)). Without the list they would be the group's own right. So if the list cannot be copied, the group gets
// nothing: less than before, never more. The same holds if the new file has a default list of its folder.
func copyAttributes(from, to *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := copyOwner(to, entryOf(info)); err != nil {
		return err
	}
	sameACL, err := copyExtended(from, to)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if !sameACL {
		mode &^= 0o070
	}
	return to.Chmod(mode) // whatever the umask; the group bits become the mask of a list
}

// copyOwner changes the owner only if it differs: an ordinary user may not set even the present one if the group came
// from a folder's set-group-ID bit.
func copyOwner(file *os.File, like entry) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if e := entryOf(info); e.uid == like.uid && e.gid == like.gid {
		return nil
	}
	return file.Chown(int(like.uid), int(like.gid))
}

// copyExtended copies the extended attributes that may be copied, and reports whether both files have the same
// access-control list now. A full file system is an error.
func copyExtended(from, to *os.File) (sameACL bool, err error) {
	names, err := extended(from)
	if err != nil {
		return false, err
	}
	if !slices.Contains(names, aclAttribute) {
		err := unix.Fremovexattr(int(to.Fd()), aclAttribute)
		sameACL = err == nil || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP)
	}
	for _, name := range names {
		if describesContent(name) {
			continue
		}
		err := copyAttribute(from, to, name)
		if err != nil && !canIgnore(err) {
			return false, err
		}
		if name == aclAttribute {
			sameACL = err == nil
		}
	}
	return sameACL, nil
}

// describesContent reports whether an attribute is valid only for the old content: a signature of it (IMA, EVM), or the
// capabilities of a program.
func describesContent(name string) bool {
	return name == "security.ima" || name == "security.evm" || name == "security.capability"
}

// canIgnore reports whether an error says that setting an attribute is not permitted, or not supported here. EINVAL
// comes from a list with users that our user namespace does not map (posix_acl_from_xattr, fs/posix_acl.c).
func canIgnore(err error) bool {
	for _, n := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.EINVAL, unix.ENODATA} {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}

func copyAttribute(from, to *os.File, name string) error {
	value := make([]byte, longestValue)
	n, err := unix.Fgetxattr(int(from.Fd()), name, value)
	if err != nil {
		return err
	}
	return unix.Fsetxattr(int(to.Fd()), name, value[:n], 0)
}

// extended lists the extended attributes of a file.
func extended(file *os.File) ([]string, error) {
	list := make([]byte, longestList)
	n, err := unix.Flistxattr(int(file.Fd()), list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("flistxattr", err)
	}
	return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
}

// aclLetsOthersWrite reports whether an access-control list names a user or a group with write permission. (The mask is
// in the mode.) The value is a version of 4 bytes, and entries of 8: tag, permissions, id
// (include/uapi/linux/posix_acl_xattr.h). A list that cannot be read counts as one that does.
func aclLetsOthersWrite(path string) bool {
	const namedUser, namedGroup, write = 0x02, 0x08, 0x02
	value := make([]byte, longestValue)
	n, err := unix.Lgetxattr(path, aclAttribute, value)
	if err != nil {
		return !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP)
	}
	for at := 4; at+8 <= n; at += 8 {
		tag, may := binary.LittleEndian.Uint16(value[at:]), binary.LittleEndian.Uint16(value[at+2:])
		if (tag == namedUser || tag == namedGroup) && may&write != 0 {
			return true
		}
	}
	return false
}
