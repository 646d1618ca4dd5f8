package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// What the group of a process may use is the lowest limit on the way up.
func TestMemoryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {nil, math.MaxInt64},
		"none set": {
			map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, math.MaxInt64},
		"its own": {
			map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "33554432\n"}, 32 << 20},
		"one above": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1000\n",
			"sys/fs/cgroup/a/b/memory.max": "2000\n"}, 1000},
		"of a container": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n"}, 1000},
		"version 1": {
			map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a\n0::/\n",
				"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000\n",
				"sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n"}, 1000},
		"nonsense": {map[string]string{"proc/self/cgroup": "x\n0:y\n0::/a\n", "sys/fs/cgroup/a/memory.max": "many\n"},
			math.MaxInt64},
	} {
		root := t.TempDir()
		for path, content := range c.files {
			path = filepath.Join(root, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
				os.WriteFile(path, []byte(content), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
