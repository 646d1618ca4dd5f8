package store

import (
	"io/fs"
	"testing"
)

func TestObjection(t *testing.T) {
	const root, me, stranger, myGroup, otherGroup = 0, 1000, 1001, 1000, 50
	const dir, link, sticky = fs.ModeDir, fs.ModeSymlink, fs.ModeSticky
	alice := user{uid: me, gid: myGroup}
	folder := func(mode fs.FileMode, uid, gid uint32) entry {
		return entry{mode: dir | mode, uid: uid, gid: gid, links: 2}
	}
	made := func(mode fs.FileMode, uid uint32) *entry {
		return &entry{mode: mode, uid: uid, gid: otherGroup, links: 1}
	}
	linked := &entry{mode: 0o644, uid: root, gid: root, links: 2}
	const (
		strangersFolder = "lies in a folder of another user"
		sharedLink      = "is a symbolic link in a folder that others can write"
		replaceable     = "lies in a folder where others can replace it"
		strangersFile   = "belongs to another user, in a folder that others can write"
		hardLink        = "has a second hard link, in a folder that others can write"
	)
	for _, c := range []struct {
		name   string
		user   user
		folder entry
		entry  *entry
		want   string
	}{
		{"root's folder", user{}, folder(0o755, root, root), made(0o644, root), ""},
		{"root's folder, a file given away", user{}, folder(0o755, root, root), made(0o644, stranger), ""},
		{"root's folder, a link", user{}, folder(0o755, root, root), made(link|0o777, root), ""},
		{"root's folder, two hard links", user{}, folder(0o755, root, root), linked, ""},
		{"root's folder, seen by a user", alice, folder(0o755, root, root), made(0o644, root), ""},
		{"one's own folder", alice, folder(0o700, me, myGroup), made(link|0o777, me), ""},
		{"a user's folder, seen by root", user{}, folder(0o755, me, myGroup), made(0o644, root), strangersFolder},
		{"a user's folder, a link", user{}, folder(0o755, me, myGroup), made(link|0o777, root), strangersFolder},
		{"a user's folder, nothing yet", user{}, folder(0o755, me, myGroup), nil, strangersFolder},
		{"another user's folder", alice, folder(0o755, stranger, myGroup), made(0o644, me), strangersFolder},

		{"/tmp, one's own file", user{}, folder(sticky|0o777, root, root), made(0o644, root), ""},
		{"/tmp, nothing yet", user{}, folder(sticky|0o777, root, root), nil, ""},
		{"/tmp, one's own link", user{}, folder(sticky|0o777, root, root), made(link|0o777, root), sharedLink},
		{"/tmp, a stranger's file", user{}, folder(sticky|0o777, root, root), made(0o644, stranger), strangersFile},
		{"/tmp, a stranger's folder", user{}, folder(sticky|0o777, root, root), made(dir|0o755, stranger),
			strangersFile},
		{"/tmp, root's folder", user{}, folder(sticky|0o777, root, root),
			&entry{mode: dir | 0o755, uid: root, gid: root, links: 5}, ""},
		{"/tmp, a hard link", user{}, folder(sticky|0o777, root, root), linked, hardLink},
		{"a store of a group, a hard link", user{}, folder(sticky|0o775, root, otherGroup), linked, ""},

		{"everybody's folder", user{}, folder(0o777, root, root), made(0o644, root), replaceable},
		{"everybody's folder, nothing yet", user{}, folder(0o777, root, root), nil, replaceable},
		{"a group's folder", user{}, folder(0o775, root, otherGroup), made(0o644, root), replaceable},
		{"a private group's folder", alice, folder(0o775, me, myGroup), made(0o644, me), ""},
		{"a private group's folder, nothing yet", alice, folder(0o775, me, myGroup), nil, ""},
		{"a private group's folder, a link", alice, folder(0o775, me, myGroup), made(link|0o777, me), sharedLink},
		{"a private group's folder, a stranger's file", alice, folder(0o775, me, myGroup), made(0o644, stranger),
			strangersFile},
		{"one's own group and everybody", alice, folder(0o777, me, myGroup), made(0o644, me), replaceable},

		{"an unknown user, all users known", user{}, folder(0o755, overflowUID, root), nil, strangersFolder},
		{"an unknown user, in a user namespace", user{confined: true}, folder(0o755, overflowUID, root), nil, ""},
	} {
		if got := c.user.objection(c.folder, c.entry); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestMaps(t *testing.T) {
	for idMap, want := range map[string]bool{
		"         0          0 4294967295\n":                          true,
		"         0       1000          1\n":                          false,
		"         0     100000      65536\n":                          true,
		"         0     100000      65534\n":                          false,
		"         0       1000          1\n         1 100000 65536\n": true,
		"     70000       1000          9\n":                          false,
		"":                                                            false,
		"nonsense\n":                                                  false,
	} {
		if got := maps([]byte(idMap), overflowUID); got != want {
			t.Errorf("%q: %v, want %v", idMap, got, want)
		}
	}
}
