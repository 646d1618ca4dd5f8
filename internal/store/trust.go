package store

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// The threat: portmap runs as root and obeys the file. A user who controls the target of the path could make root apply
// their configuration, read a file that they may not read (and quote it in an error), or replace a file that they may
// not write. So only root and the user of this process may control it, at every step of the path:
//
//   - Each folder on the path belongs to root or to us. The owner of a folder can put anything into it, whatever its
//     mode.
//   - A symbolic link is followed only from a folder that neither group nor others can write. The sticky bit does not
//     help: others cannot remove entries, but they can make the link before we make the file.
//   - In a folder that group or others can write, an entry must be root's or ours, and others must not be able to
//     replace it: the folder has the sticky bit, or only our own group may write. That is the user's private group
//     wherever the umask gives it that right.
//   - In a folder that all users can write, the file has no second hard link: without fs.protected_hardlinks
//     (proc_sys_fs(5)), any user can link a file of root's into /tmp.
//   - The file itself may belong to, or be writable by, another user whom root chose by chown or chgrp, but it must not
//     be writable by all.
//
// An access-control list that lets others write shows as the group's write bit (acl(5)). For a file it is root's choice
// as well. A folder with such a list is writable not only by our own group. Since only root and we can change the path,
// there is no race between the check and the use.

// user is the user of this process.
type user struct {
	uid, gid uint32
	confined bool // in a user namespace that does not map every user
}

// overflowUID is the owner of a file if our user namespace does not map the real one (user_namespaces(7)).
const overflowUID = 65534

func currentUser() user {
	idMap, err := os.ReadFile("/proc/self/uid_map")
	return user{
		uid:      uint32(os.Geteuid()),
		gid:      uint32(os.Getegid()),
		confined: err == nil && !maps(idMap, overflowUID),
	}
}

// maps reports whether a user namespace maps a user. Each line of its map is: first id inside, first id outside, count.
func maps(idMap []byte, uid uint64) bool {
	lines := bufio.NewScanner(bytes.NewReader(idMap))
	for lines.Scan() {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &count); err == nil && uid >= inside &&
			uid-inside < count {
			return true
		}
	}
	return false
}

// trusts reports whether a user is root or the user of this process. In a user namespace of an ordinary user, the root
// of the host looks like any other unmapped user; but there this process has only the rights of that ordinary user.
func (u user) trusts(uid uint32) bool {
	return uid == 0 || uid == u.uid || u.confined && uid == overflowUID
}

// entry holds the attributes of a file, link or folder that decide whether it is trusted.
type entry struct {
	mode     fs.FileMode
	uid, gid uint32
	links    uint64
	acl      bool // of a folder: an access-control list lets others write
}

func entryOf(info fs.FileInfo) entry {
	stat := info.Sys().(*syscall.Stat_t)
	return entry{mode: info.Mode(), uid: stat.Uid, gid: stat.Gid,
		links: uint64(stat.Nlink)} //nolint:unconvert // 32 bits on other machines
}

// folderEntry is entryOf for a folder. The access-control list is read only if the mode shows that it can let others
// write.
func folderEntry(path string, info fs.FileInfo) entry {
	e := entryOf(info)
	e.acl = e.is(groupWrite) && aclLetsOthersWrite(path)
	return e
}

const (
	othersWrite = 0o002
	groupWrite  = 0o020
	sharedWrite = 0o022
)

func (e entry) is(bits fs.FileMode) bool { return e.mode&bits != 0 }

// objection returns why an entry of a folder is not trusted, in words that follow its name; empty if it is trusted. A
// nil entry stands for one that does not exist yet.
func (u user) objection(folder entry, e *entry) string {
	private := folder.is(fs.ModeSticky) || !folder.is(othersWrite) && folder.gid == u.gid && !folder.acl
	switch {
	case !u.trusts(folder.uid):
		return "lies in a folder of another user"
	case !folder.is(sharedWrite):
		return ""
	case e != nil && e.is(fs.ModeSymlink):
		return "is a symbolic link in a folder that others can write"
	case !private:
		return "lies in a folder where others can replace it"
	case e == nil:
		return ""
	case !u.trusts(e.uid):
		return "belongs to another user, in a folder that others can write"
	case folder.is(othersWrite) && !e.is(fs.ModeDir) && e.links > 1:
		return "has a second hard link, in a folder that others can write"
	}
	return ""
}

// unfit returns why an entry cannot be the file; empty if it can.
func (e entry) unfit(size int64) string {
	switch {
	case !e.mode.IsRegular():
		return "is not a regular file"
	case e.is(othersWrite):
		return everybody
	case size > MaxSize:
		return tooLarge
	}
	return ""
}
