package check

import (
	"strings"
	"testing"

	"portmap/internal/finding"
)

// Two files are told of only if both hold mappings.
func TestTwoFiles(t *testing.T) {
	folder := put(t, map[string]string{"a": "# mine\n443:8443\n", "b": "80:8080 --name x\n",
		"none": "# 1:2\nbackend nft\n"})
	for names, says := range map[string]string{
		"": "", "a": "", "a none": "", "a missing": "", "none none": "",
		"a none b": "are in " + folder + "/a and " + folder + "/b; ",
	} {
		var files []string
		for _, name := range strings.Fields(names) {
			files = append(files, folder+"/"+name)
		}
		id := finding.TwoFiles
		if says == "" {
			id = ""
		}
		expect(t, twoFiles(files), id, says)
	}
}
