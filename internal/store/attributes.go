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

// carry gives a new file the owner, mode (without set-id bits), access-control list and other extended attributes of
// another.
//
// With an access-control list, the group's bits of the mode are its mask, the most that anybody gets whom it names
// (acl(5)). As the mode of a file without that list they would be the group's own right. So where the list cannot be
// carried over, the group gets nothing: less than before, never more. The same for a list that the folder gave the new
// file by its default.
func carry(from, to *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := giveTo(to, entryOf(info)); err != nil {
		return err
	}
	sameACL, err := carryExtended(from, to)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if !sameACL {
		mode &^= 0o070
	}
	return to.Chmod(mode) // the umask has no say; a list keeps its mask, which is what the group's bits are
}

// giveTo changes the owner only where it is another: an ordinary user may not even ask for what is so already, where a
// folder's set-group-ID bit gave the file its group.
func giveTo(file *os.File, like entry) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if e := entryOf(info); e.uid == like.uid && e.gid == like.gid {
		return nil
	}
	return file.Chown(int(like.uid), int(like.gid))
}

// carryExtended copies the extended attributes that may be copied, and reports whether both files have the same list
// now. What the file system has no room for is an error.
func carryExtended(from, to *os.File) (sameACL bool, err error) {
	names, err := extended(from)
	if err != nil {
		return false, err
	}
	if !slices.Contains(names, aclAttribute) {
		err := unix.Fremovexattr(int(to.Fd()), aclAttribute)
		sameACL = err == nil || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP)
	}
	for _, name := range names {
		if ofContent(name) {
			continue
		}
		err := carryOne(from, to, name)
		if err != nil && !mayStay(err) {
			return false, err
		}
		if name == aclAttribute {
			sameACL = err == nil
		}
	}
	return sameACL, nil
}

// ofContent reports whether an attribute says something about the content that it was given for: a signature of it
// (IMA, EVM), or the right of a program.
func ofContent(name string) bool {
	return name == "security.ima" || name == "security.evm" || name == "security.capability"
}

// mayStay reports whether an error means that one may not set an attribute, or that there is none of that kind here.
// EINVAL is what a list gives that names users who are not known in our user namespace (posix_acl_from_xattr,
// fs/posix_acl.c).
func mayStay(err error) bool {
	for _, n := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.EINVAL, unix.ENODATA} {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}

func carryOne(from, to *os.File, name string) error {
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

// othersWriteByACL reports whether an access-control list names a user or a group who may write, as far as its mask
// allows it: that is in the mode. The value is a version, 4 bytes, and entries of 8: tag, permissions, id
// (include/uapi/linux/posix_acl_xattr.h). A list that cannot be read may name anybody.
func othersWriteByACL(path string) bool {
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
