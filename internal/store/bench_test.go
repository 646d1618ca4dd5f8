package store

import (
	"fmt"
	"testing"
)

func BenchmarkReplace(b *testing.B) {
	for _, size := range []int{100, 1_300_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			f := At(pathIn(b.TempDir()))
			content := []byte(repeated("443:8443/tcp\n", size))
			b.SetBytes(int64(size))
			for b.Loop() {
				l, err := f.Lock(b.Context())
				must(b, err)
				s, err := l.Stage(content)
				must(b, err)
				must(b, s.Commit())
				must(b, l.Close())
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{100, 1_300_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			f := At(pathIn(b.TempDir()))
			put(b, f.Path, repeated("443:8443/tcp\n", size), 0o644)
			b.SetBytes(int64(size))
			for b.Loop() {
				_, err := f.Read()
				must(b, err)
			}
		})
	}
}
