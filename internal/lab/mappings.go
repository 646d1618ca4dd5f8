package lab

import (
	"testing"

	"portmap/rules"
)

// Mappings parses mappings from valid lines of the file.
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
