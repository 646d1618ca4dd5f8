package servers

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is who has a socket open.
type process struct {
	pid     int
	command string
	ssh     bool // somebody who has the socket open is an SSH server
}

// isSSH recognizes the servers by which one gets into a host. With ssh.socket, systemd has the socket open as well.
func isSSH(command string) bool { return command == "sshd" || command == "dropbear" }

// processes finds who has each of the sockets open, in one walk over proc (/proc): of several, the one with the lowest
// PID. Processes that may not be looked into are passed over; their sockets have no process here.
func processes(proc string, inodes map[uint32]bool) map[uint32]process {
	found := make(map[uint32]process, len(inodes))
	dirs, err := os.ReadDir(proc)
	if err != nil {
		return found
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(dir.Name())
		if err != nil {
			continue
		}
		path := filepath.Join(proc, dir.Name())
		p := process{pid: pid}
		for _, inode := range socketsOf(path) {
			if !inodes[inode] {
				continue
			}
			if p.command == "" {
				p.command = commandOf(path)
			}
			old, known := found[inode]
			who := p
			if known && old.pid < pid {
				who = old
			}
			who.ssh = old.ssh || isSSH(p.command)
			found[inode] = who
		}
	}
	return found
}

// socketsOf returns the inodes of the sockets a process has open: links named "socket:[INODE]" (proc(5), /proc/PID/fd).
func socketsOf(dir string) []uint32 {
	fds, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return nil
	}
	defer fds.Close()
	names, _ := fds.Readdirnames(-1)
	var inodes []uint32
	for _, name := range names {
		link, err := os.Readlink(filepath.Join(dir, "fd", name))
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(link, "socket:[")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
			inodes = append(inodes, uint32(n))
		}
	}
	return inodes
}

func commandOf(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return "?"
	}
	return printable(string(bytes.TrimSpace(name)))
}

// printable keeps a process from writing to a terminal through its name.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
