package check

import (
	"os"
	"strings"

	"portmap/internal/finding"
)

// twoFiles tells of several configuration files that hold mappings of one network namespace.
func twoFiles(files []string) []finding.Finding {
	var used []string
	for _, file := range files {
		if holdsMappings(file) {
			used = append(used, file)
		}
	}
	if len(used) < 2 {
		return nil
	}
	last := len(used) - 1
	return []finding.Finding{{
		ID: finding.TwoFiles,
		Text: "mappings of this host are in " + strings.Join(used[:last], ", ") + " and " + used[last] +
			"; each file has its own `portmap apply`",
	}}
}

// holdsMappings reports whether a file has a line with a mapping, valid or not.
func holdsMappings(file string) bool {
	content, _ := os.ReadFile(file)
	for line := range strings.Lines(string(content)) {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "backend" && !strings.HasPrefix(words[0], "#") {
			return true
		}
	}
	return false
}
