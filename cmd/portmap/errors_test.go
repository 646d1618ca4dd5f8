package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"portmap/internal/store"
	"portmap/rules"
)

// What a person reads of what cannot be made to happen in a transcript.
func TestSentences(t *testing.T) {
	nftables := func(errno syscall.Errno) error {
		return wrap(fmt.Errorf("nf_tables: %w", errno), "add 443:8443/tcp")
	}
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{exitError(1), 1, ""},
		{nftables(syscall.EPERM), 3,
			"portmap: add 443:8443/tcp: not permitted; the kernel's packet rules need root or CAP_NET_ADMIN\n" +
				"  sudo portmap add 443:8443\n"},
		{nftables(syscall.EOPNOTSUPP), 1,
			"portmap: add 443:8443/tcp: this kernel has no nf_tables, or lacks a part of it\n" +
				"  load it with `sudo modprobe nf_tables`; Linux 5.11 or newer has all that is needed\n"},
		{wrap(fmt.Errorf("look for servers: %w", syscall.EPROTONOSUPPORT), "list"), 1,
			"portmap: list: look for servers: protocol not supported\n"},
		{nftables(syscall.ENOMEM), 1,
			"portmap: add 443:8443/tcp: the kernel has no memory for that many rules; nothing was changed\n" +
				"  as root in the first user namespace the limits are higher\n"},
		{wrap(&fs.PathError{Op: "write", Path: "f", Err: syscall.EROFS}, "remove 443"), 1,
			"portmap: remove 443: write f: read-only file system\n" +
				"  nothing was changed; make the file system writable, then do it again\n"},
		{nftables(syscall.EINVAL), 1, "portmap: add 443:8443/tcp: nf_tables: invalid argument\n"},
		{wrap(rules.ErrDrift, "add 443:8443/tcp"), 1,
			"portmap: add 443:8443/tcp: the kernel's rules are not what was saved\n" +
				"  `sudo portmap diff` shows the difference, `sudo portmap apply` removes it\n"},
		{&fs.PathError{Op: "write", Path: "/etc/portmap/portmap.conf", Err: syscall.EACCES}, 3,
			"portmap: write /etc/portmap/portmap.conf: permission denied\n  sudo portmap add 443:8443\n"},
		{&fs.PathError{Op: "write", Path: "/etc/portmap/portmap.conf", Err: syscall.EDQUOT}, 1,
			"portmap: write /etc/portmap/portmap.conf: disk quota exceeded\n" +
				"  make room on the file system of the file, then do it again; nothing was changed\n"},
		{&fs.PathError{Op: "lock", Path: "p", Err: store.ErrLocked}, 1,
			"portmap: lock p: another portmap holds the lock\n  wait for it, or find it with `pgrep -a portmap`\n"},
		{&fs.PathError{Op: "read", Path: "p",
			Err: &store.RefusedError{Part: "p", Why: "lies in a folder of another user"}}, 1,
			"portmap: read p: refused: p lies in a folder of another user\n" +
				"  keep the file in a folder that only root can write, such as /etc/portmap\n"},
		{&fs.PathError{Op: "read", Path: "p", Err: &store.RefusedError{Part: "p", Why: "can be written by everybody"}},
			1, "portmap: read p: refused: p can be written by everybody\n  sudo chmod o-w p\n"},
		{&fs.PathError{Op: "read", Path: "p", Err: &store.RefusedError{Part: "p", Why: "is a folder"}}, 1,
			"portmap: read p: refused: p is a folder\n  name the file of mappings with --config\n"},
		// as root without the right to read all
		{&fs.PathError{Op: "read", Path: "p", Err: syscall.EACCES}, 3,
			"portmap: read p: permission denied\n  sudo chmod o+r p\n"},
		{wrap(&store.UndoError{Cause: syscall.ENOSPC, What: "the kernel", Err: syscall.EPERM}, "add"), 1,
			"portmap: add: no space left on device; and the kernel could not be put back: operation not permitted\n" +
				"  `sudo portmap diff` shows what differs; to have it as the file says: sudo portmap apply\n"},
		{errors.New("two\nlines"), 1, "portmap: two lines\n"},
	} {
		var printed bytes.Buffer
		a := &app{err: &printed, out: bufio.NewWriter(&printed), args: []string{"add", "443:8443"},
			config: defaultConfig, started: true}
		if code := a.report(context.Background(), c.err); code != c.code || printed.String() != c.want {
			t.Errorf("%v: exit %d,\n%swant %d,\n%s", c.err, code, printed.String(), c.code, c.want)
		}
	}
	interrupted, stop := context.WithCancel(context.Background())
	stop()
	var printed bytes.Buffer
	a := &app{err: &printed, out: bufio.NewWriter(&printed), started: true}
	if code := a.report(interrupted, errors.New("cut short")); code != 1 ||
		printed.String() != "portmap: interrupted; nothing was changed\n" {
		t.Errorf("interrupted: exit %d, %q", code, printed.String())
	}
}

func TestCommandCanBePasted(t *testing.T) {
	a := &app{args: []string{"add", "[::1]:443:8443/tcp,udp", "it's", "", "--config=/etc/my file"}}
	const want = `sudo portmap add '[::1]:443:8443/tcp,udp' 'it'\''s' '' '--config=/etc/my file' --replace`
	if got := a.command("--replace"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The file that is restored at boot is that file by whatever name.
func TestBootsOwnFile(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(here, defaultConfig)
	if err != nil {
		t.Fatal(err)
	}
	for config, own := range map[string]bool{
		defaultConfig: true, relative: true, "/etc//portmap/../portmap/portmap.conf": true, "portmap.conf": false,
	} {
		if err := (&app{config: config}).bootsOwnFile(); (err == nil) != own {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1204: "1,204", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
