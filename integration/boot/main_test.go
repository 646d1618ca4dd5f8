//go:build boot

package boot

import (
	"testing"

	"portmap/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
