package ipt

import (
	"fmt"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

func thousands(b *testing.B, count int) []rules.Mapping {
	b.Helper()
	var lines []string
	for i := range count {
		lines = append(lines, fmt.Sprintf("%d:%d", i+1, 20001+i))
	}
	return lab.Mappings(b, lines...)
}

// What it costs to write the script for 10,000 mappings, of one family.
func BenchmarkScript(b *testing.B) {
	mappings := thousands(b, 10000)
	nothing := newSaved()
	b.ReportAllocs()
	for b.Loop() {
		restoreScript(nothing.state, wanted(encode(mappings, rules.IPv4), nothing)).text()
	}
}

// What it costs to find the chain for one mapping among 10,000, of one family, before and after.
func BenchmarkSmall(b *testing.B) {
	mappings := thousands(b, 10001)
	nothing := newSaved()
	near := mappings[5000:5001]
	b.ReportAllocs()
	for b.Loop() {
		restoreScript(wanted(encodeNear(mappings[:10000], near, rules.IPv4), nothing),
			wanted(encodeNear(mappings, near, rules.IPv4), nothing)).text()
	}
}

// What it costs to read 10,000 mappings of one family.
func BenchmarkLive(b *testing.B) {
	mappings := thousands(b, 10000)
	nothing := newSaved()
	output := printed(wanted(encode(mappings, rules.IPv4), nothing))
	b.ReportAllocs()
	for b.Loop() {
		labels := newLabels(nil)
		s, err := parse(labels, output)
		if err != nil {
			b.Fatal(err)
		}
		snapshot{[...]*saved{s, nil}, labels}.live()
	}
}
