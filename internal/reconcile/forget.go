package reconcile

import (
	"context"

	"portmap/internal/flows"
	"portmap/rules"
)

// ForgetFlows is the Forget of a real host.
func ForgetFlows(_ context.Context, change rules.Change) error { return flows.Forget(change) }
