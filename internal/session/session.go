// Package session finds the SSH connection that a command is typed in.
package session

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Connection is an SSH connection, seen from this host.
type Connection struct {
	Client netip.Addr
	Server netip.AddrPort
}

// variable is set by sshd: client address, client port, server address, server port (ssh(1), ENVIRONMENT).
const variable = "SSH_CONNECTION"

// FromEnvironment returns the connection that sshd wrote into the environment.
func FromEnvironment(getenv func(string) string) (Connection, bool) { return parse(getenv(variable)) }

// FromParents returns the connection from the environments of the parent processes, as proc (/proc) shows them: sudo(8)
// and su(1) remove the variable.
func FromParents(proc string) (Connection, bool) {
	pid := os.Getppid()
	for range 32 { // more than shells are nested in practice
		if pid <= 1 {
			break
		}
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if value, ok := find(dir); ok {
			return parse(value)
		}
		pid = parent(dir)
	}
	return Connection{}, false
}

func find(dir string) (string, bool) {
	environment, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return "", false
	}
	for _, entry := range bytes.Split(environment, []byte{0}) {
		if value, ok := strings.CutPrefix(string(entry), variable+"="); ok {
			return value, true
		}
	}
	return "", false
}

// parent returns the fourth field of /proc/PID/stat (proc(5)). It counts from the end of the command, which may contain
// spaces.
func parent(dir string) int {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0
	}
	var state string
	var pid int
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	if _, err := fmt.Sscan(string(rest), &state, &pid); err != nil {
		return 0
	}
	return pid
}

func parse(value string) (Connection, bool) {
	fields := strings.Fields(value)
	if len(fields) != 4 {
		return Connection{}, false
	}
	client, err := netip.ParseAddr(fields[0])
	if err != nil {
		return Connection{}, false
	}
	server, err := netip.ParseAddr(fields[2])
	if err != nil {
		return Connection{}, false
	}
	port, err := strconv.ParseUint(fields[3], 10, 16)
	if err != nil {
		return Connection{}, false
	}
	return Connection{client.Unmap().WithZone(""), netip.AddrPortFrom(server.Unmap().WithZone(""), uint16(port))}, true
}
