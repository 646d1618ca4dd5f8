package lab

import (
	"testing"

	"portmap/rules"
)

// Mappings reads mappings as lines of the file, which must be right.
func Mappings(t testing.TB, lines ...string) []rules.Mapping {
	t.Helper()
	var list []rules.Mapping
	for _, line := range lines {
		m, err := rules.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}
