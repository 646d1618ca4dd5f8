package rules

import "context"

// Backend puts mappings into a kernel's packet filter. It holds no state of its own: what is live is what the kernel
// says. One Backend is for one network namespace, and not for use by several goroutines at once.
type Backend interface {
	// Name returns what `--backend` calls it.
	Name() string

	// Supports returns nil, or why this backend cannot put a mapping into the kernel: an [*UnsupportedError].
	Supports(Mapping) error

	// Live reads what the kernel holds of ours, with counters.
	Live(context.Context) (Live, error)

	// Temporary reads the temporary mappings alone: what no file holds. It is quick however many others are live.
	Temporary(context.Context) ([]Mapping, error)

	// Apply does the whole change in one transaction, or nothing of it. To add what is there already, in the same
	// words, may succeed. The error is an [*UnsupportedError], [ErrDrift], or the kernel's errno, to be found by
	// [errors.As].
	Apply(context.Context, Change) error

	// Close lets go of the kernel. What is live stays.
	Close() error
}
