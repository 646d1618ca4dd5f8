package store

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// The threat: portmap runs as root and obeys the file. A user who can decide what the path leads to, could have root
// read a configuration of his making, have it read (and quote in an error) a file that he may not read, or have it
// replace a file that he may not write. So nobody but root and ourselves may be able to decide it, at any step of the
// way:
//
//   - Each folder on the way belongs to root or us. The owner of a folder can put anything into it, whatever its mode.
//   - A symbolic link is followed only from a folder that neither group nor others can write. The sticky bit is no
//     help: it keeps others from taking entries away, not from making the link before we make the file.
//   - In a folder that group or others can write, an entry has to be root's or ours, and the folder has to keep it
//     from being swapped: by the sticky bit, or because only our own group may write, which is the user's private group
//     wherever the umask gives it that right.
//   - In a folder that everybody can write, the file has no second hard link: without fs.protected_hardlinks
//     (proc_sys_fs(5)), anyone can link a file of root's into /tmp.
//   - The file itself may belong to, or be writable by, whom root chose (a chown or chgrp in a folder of root's is
//     root's word), but not by everybody.
//
// An access-control list that lets others write shows as the group's write bit (acl(5)): of a file that is root's word
// as well, and of a folder with such a list it is not only our own group that may write. Since none but root and we can
// change the way, there is no race between looking at it and walking it.

// user is who we are, and so whom to trust.
type user struct {
	uid, gid uint32
	confined bool // in a user namespace that does not know every user
}

// overflowUID is what the owner of a file looks like who is not known in our user namespace (user_namespaces(7)).
const overflowUID = 65534

func currentUser() user {
	idMap, err := os.ReadFile("/proc/self/uid_map")
	return user{
		uid:      uint32(os.Geteuid()),
		gid:      uint32(os.Getegid()),
		confined: err == nil && !maps(idMap, overflowUID),
	}
}

// maps reports whether a user namespace knows a user. Each line of its map is: first id inside, first id outside,
// count.
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

// trusts reports whether a user is root or ourselves. In a user namespace of an ordinary user, the root of the host
// cannot be told from other strangers; but there we hold no power that is not that user's own.
func (u user) trusts(uid uint32) bool {
	return uid == 0 || uid == u.uid || u.confined && uid == overflowUID
}

// entry is what the rules look at in a file, link or folder.
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

// folderEntry is entryOf for a folder. Its list is read only where the mode says that one may let others write.
func folderEntry(path string, info fs.FileInfo) entry {
	e := entryOf(info)
	e.acl = e.is(groupWrite) && othersWriteByACL(path)
	return e
}

const (
	othersWrite = 0o002
	groupWrite  = 0o020
	sharedWrite = 0o022
)

func (e entry) is(bits fs.FileMode) bool { return e.mode&bits != 0 }

// objection says why an entry of a folder is not to be trusted, in words that go after its name; empty when it is. A
// nil entry is one that is yet to be made.
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

// unfit says why an entry can't be the file.
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
