package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const mallory = 1001 // the user that a list names

// aclEntry is an entry of an access-control list, as in include/uapi/linux/posix_acl_xattr.h.
type aclEntry struct {
	tag, may uint16
	id       uint32
}

const nobodyNamed = 0xffffffff // the id of entries without a name

func acl(entries ...aclEntry) []byte {
	value := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		value = binary.LittleEndian.AppendUint16(value, e.tag)
		value = binary.LittleEndian.AppendUint16(value, e.may)
		value = binary.LittleEndian.AppendUint32(value, e.id)
	}
	return value
}

// writableACL gives mallory rw, the group and others r.
func writableACL() []byte {
	return acl(aclEntry{1, 6, nobodyNamed}, aclEntry{2, 6, mallory}, aclEntry{4, 4, nobodyNamed},
		aclEntry{0x10, 6, nobodyNamed}, aclEntry{0x20, 4, nobodyNamed})
}

func setAttribute(t *testing.T, path, name string, value []byte) {
	t.Helper()
	if err := unix.Lsetxattr(path, name, value, 0); err != nil {
		t.Fatalf("set %s of %s: %v", name, path, err)
	}
}

func wantAttribute(t *testing.T, path, name string, want []byte) {
	t.Helper()
	got := make([]byte, longestValue)
	n, err := unix.Lgetxattr(path, name, got)
	if want == nil {
		if !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s of %s is %q, %v; want none", name, path, got[:max(n, 0)], err)
		}
		return
	}
	must(t, err)
	if !bytes.Equal(got[:n], want) {
		t.Errorf("%s of %s is %q, want %q", name, path, got[:n], want)
	}
}

func TestAttributesStay(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o640)
	setAttribute(t, f.Path, aclAttribute, writableACL())
	setAttribute(t, f.Path, "user.note", []byte("of ours"))
	wantMode(t, f.Path, 0o664) // the mask
	l := locked(t, f)
	s, err := l.StageKeepingOld([]byte("new"))
	must(t, err)
	must(t, s.Commit())
	for _, path := range []string{f.Path, f.Path + ".old"} {
		wantMode(t, path, 0o664)
		wantAttribute(t, path, aclAttribute, writableACL())
		wantAttribute(t, path, "user.note", []byte("of ours"))
	}
	must(t, unix.Lremovexattr(f.Path, aclAttribute))
	must(t, replace(l, "newer"))
	wantAttribute(t, f.Path, aclAttribute, nil)
}

// TestLargeAttributes uses more than one page of attributes, and one attribute of more than a page.
func TestLargeAttributes(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o644)
	for _, name := range []string{"user.a", "user.b", "user.empty"} {
		value := []byte(repeated(name, 700))
		if name == "user.empty" {
			value = []byte{}
		}
		setAttribute(t, f.Path, name, value)
	}
	must(t, replace(locked(t, f), "new"))
	wantAttribute(t, f.Path, "user.a", []byte(repeated("user.a", 700)))
	wantAttribute(t, f.Path, "user.b", []byte(repeated("user.b", 700)))
	wantAttribute(t, f.Path, "user.empty", []byte{})
}

// TestDefaultListOfTheFolder: a default list gives no rights to a file that had no list.
func TestDefaultListOfTheFolder(t *testing.T) {
	dir := t.TempDir()
	f := At(pathIn(dir))
	put(t, f.Path, "old", 0o664)
	setAttribute(t, dir, "system.posix_acl_default", writableACL())
	must(t, replace(locked(t, f), "new"))
	wantMode(t, f.Path, 0o664)
	wantAttribute(t, f.Path, aclAttribute, nil)
}

// TestListThatCannotBeCopied: the mask of the list must not become the right of the group.
func TestListThatCannotBeCopied(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/from", "old", 0o640)
	setAttribute(t, dir+"/from", aclAttribute, writableACL())
	run(t, inNamespaces(play(t, "without lists", dir)))
}

// withoutListsRole writes a file with the attributes of another into a file system that has no lists.
func withoutListsRole(args []string) error {
	dir := args[0]
	if err := os.Mkdir(dir+"/plain", 0o755); err != nil {
		return err
	}
	if err := mountPrivately("store", dir+"/plain", "ramfs", 0, ""); err != nil {
		return err
	}
	from, err := os.Open(dir + "/from")
	if err != nil {
		return err
	}
	defer from.Close()
	path := dir + "/plain/to"
	if err := At(path).system().write(path, []byte("new"), from); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode() != 0o604 {
		err = errors.New("the mode is " + info.Mode().String() + ", want rw----r--: " + "the mask has become a right")
	}
	return err
}

// TestFolderThatAListOpens: mode 0775 and our own group look like a private group's folder, but the list names others.
func TestFolderThatAListOpens(t *testing.T) {
	for _, c := range []struct {
		may, mask uint16
		refused   bool
	}{{7, 7, true}, {7, 5, false}, {5, 7, false}} {
		dir := t.TempDir() + "/etc"
		must(t, os.Mkdir(dir, 0o755))
		put(t, pathIn(dir), "x", 0o644)
		value := acl(aclEntry{1, 7, nobodyNamed}, aclEntry{2, c.may, mallory}, aclEntry{4, 5, nobodyNamed},
			aclEntry{0x10, c.mask, nobodyNamed}, aclEntry{0x20, 5, nobodyNamed})
		setAttribute(t, dir, aclAttribute, value)
		_, err := At(pathIn(dir)).Read()
		if c.refused {
			wantRefused(t, err, "lies in a folder where others can replace it")
		} else {
			must(t, err)
		}
	}
}

// TestRightsOfPrograms: the capabilities of the old content are not copied to the new one.
func TestRightsOfPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root can give them
	}
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, "old", 0o755)
	const name = "security.capability"
	capability := make([]byte, 20) // struct vfs_cap_data, include/uapi/linux/capability.h
	binary.LittleEndian.PutUint32(capability, 0x02000000)
	binary.LittleEndian.PutUint32(capability[4:], 1<<12) // CAP_NET_ADMIN
	if err := unix.Lsetxattr(f.Path, name, capability, 0); errors.Is(err, syscall.EPERM) {
		return // root of a user namespace
	}
	must(t, replace(locked(t, f), "new"))
	wantAttribute(t, f.Path, name, nil)
	wantMode(t, f.Path, fs.FileMode(0o755))
}
