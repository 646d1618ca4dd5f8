package check

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"portmap/internal/shell"
)

// kernel reads what the kernel says in /proc of this network namespace. It is the folder in the place of /, for tests.
type kernel string

func (k kernel) path(path string) string { return filepath.Join("/", string(k), "proc", path) }

// setting returns a value below /proc/sys/net; "" if there is none.
func (k kernel) setting(name string) string {
	content, _ := os.ReadFile(k.path("sys/net/" + name))
	return strings.TrimSpace(string(content))
}

// number returns a setting that is a number.
func (k kernel) number(name string) (int, bool) {
	n, err := strconv.Atoi(k.setting(name))
	return n, err == nil
}

// writable reports whether a setting can be changed here: some can only in the first network namespace.
func (k kernel) writable(name string) bool {
	info, err := os.Stat(k.path("sys/net/" + name))
	return err == nil && info.Mode().Perm()&0o200 != 0
}

// table returns the fields of each line of a file in /proc/net.
func (k kernel) table(name string) (lines [][]string) {
	// Of the thread: it may have a network namespace of its own.
	content, _ := os.ReadFile(k.path("thread-self/net/" + name))
	for line := range strings.Lines(string(content)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// counter returns a counter of /proc/net/netstat, which has a line of names before each line of values.
func (k kernel) counter(group, name string) (value uint64) {
	lines := k.table("netstat")
	for i := 1; i < len(lines); i++ {
		names, values := lines[i-1], lines[i]
		if len(names) == 0 || len(names) != len(values) || names[0] != group+":" || values[0] != names[0] {
			continue
		}
		for j := 1; j < len(names); j++ {
			if names[j] == name {
				value, _ = strconv.ParseUint(values[j], 10, 64)
			}
		}
	}
	return value
}

// sysctl returns the command that changes a setting. The name of an interface may have dots: then slashes separate the
// parts (sysctl(8)).
func sysctl(name, value string) string {
	key := "net/" + name
	if !strings.Contains(name, ".") {
		key = strings.ReplaceAll(key, "/", ".")
	}
	return shell.Join("sudo", "sysctl", "-w", key+"="+value)
}
