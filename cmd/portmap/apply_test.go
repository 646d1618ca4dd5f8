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
	a := &app{in: io.LimitReader(zeros{}, maxInput+1)}
	if _, err := a.content("-"); err == nil {
		t.Errorf("%d bytes are taken", maxInput+1)
	}
}
