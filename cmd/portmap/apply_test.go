package main

import (
	"io"
	"testing"
)

// zeros is an input without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// An input that is too large is refused, and not cut.
func TestLargestInput(t *testing.T) {
	for size, want := range map[int64]bool{maxInput: true, maxInput + 1: false} {
		a := &app{in: io.LimitReader(zeros{}, size)}
		content, err := a.content("-")
		if (err == nil) != want || want && int64(len(content.Bytes)) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
