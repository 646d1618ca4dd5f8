package fault

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// describe returns a call in words: the program, the name of the call, the file.
func describe(process, root int, name string, c *call) string {
	if name == "" {
		name = fmt.Sprintf("call %d", c.number)
	}
	who := "itself"
	if process != root {
		who = commandLine(process)
	}
	subject := ""
	switch c.number {
	case unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_MKDIRAT,
		unix.SYS_READLINKAT:
		subject = text(process, c.arguments[1])
	case unix.SYS_OPEN, unix.SYS_EXECVE, unix.SYS_STATFS, unix.SYS_MKDIR, unix.SYS_UNLINK, unix.SYS_RENAME,
		unix.SYS_TRUNCATE:
		subject = text(process, c.arguments[0])
	default:
		subject, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", process, int32(c.arguments[0])))
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s", who, name, subject))
}

// text reads a C string from the memory of a process.
func text(process int, address uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", process))
	if err != nil {
		return ""
	}
	defer memory.Close()
	buffer := make([]byte, 256)
	n, _ := memory.ReadAt(buffer, int64(address))
	before, _, _ := bytes.Cut(buffer[:n], []byte{0})
	return string(before)
}

// commandLine returns the first words of a process's command line.
func commandLine(process int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", process))
	words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	words[0] = filepath.Base(words[0])
	return strings.Join(words[:min(len(words), 8)], " ")
}
