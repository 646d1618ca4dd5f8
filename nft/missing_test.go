package nft

import (
	"errors"
	"testing"

	"portmap/internal/lab"
)

// A kernel without nf_tables is told from one that only has no mappings.
func TestMissing(t *testing.T) {
	for kernel, want := range map[lab.Kernel]error{
		lab.Whole: nil, lab.NoTables: ErrMissing, lab.NoNfnetlink: ErrMissing,
	} {
		var there bool
		var err error
		lab.New(t).Host("host").On(kernel).Do(func() {
			var b *Backend
			if b, err = Open(); err == nil {
				defer b.Close()
				there, err = b.Present()
			}
		})
		if there || !errors.Is(err, want) {
			t.Errorf("kernel %d: %v, %v; want %v", kernel, there, err, want)
		}
	}
}
