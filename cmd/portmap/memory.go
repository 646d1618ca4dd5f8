package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// collectAbove is how much memory piles up before the garbage collector starts. Most runs last milliseconds and end
// before.
const collectAbove = 80 << 20

// tuneCollector keeps the collector from running before there is much to collect: more than collectAbove, or half of
// what the control group has. Once it runs it runs as always, so that a large file costs what it needs, and no more
// than three quarters of what the group has as long as that is possible.
func tuneCollector(limit int64) {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(min(collectAbove, limit/2))
	first := new([16]byte)
	runtime.SetFinalizer(first, func(*[16]byte) { // runs after the first collection
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(limit - limit/4)
	})
}

// memoryLimit returns how many bytes the control group of this process, or one above it, may use (cgroups(7);
// memory.max of version 2, memory.limit_in_bytes of version 1). The root is that of the file system. Without a limit it
// is [math.MaxInt64].
func memoryLimit(root string) int64 {
	limit := int64(math.MaxInt64)
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(parts) < 3 {
			continue
		}
		switch parts[1] {
		case "":
			limit = min(limit, lowest(filepath.Join(root, "sys/fs/cgroup"), parts[2], "memory.max"))
		case "memory":
			limit = min(limit, lowest(filepath.Join(root, "sys/fs/cgroup/memory"), parts[2], "memory.limit_in_bytes"))
		}
	}
	return limit
}

// lowest returns the lowest number that stands in a file of a group, or of one above it.
func lowest(mount, group, file string) int64 {
	limit := int64(math.MaxInt64)
	for group = filepath.Join("/", group); ; group = filepath.Dir(group) {
		if content, err := os.ReadFile(filepath.Join(mount, group, file)); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil && n > 0 {
				limit = min(limit, n)
			}
		}
		if group == "/" {
			return limit
		}
	}
}
