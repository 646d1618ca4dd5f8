package conf

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParse60000(b *testing.B) {
	var text strings.Builder
	for i := range 60000 {
		fmt.Fprintf(&text, "%d:%d/tcp\n", i+1, 60100+i%5000)
	}
	content := []byte(text.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := known.Parse(context.Background(), content); err != nil {
			b.Fatal(err)
		}
	}
}
