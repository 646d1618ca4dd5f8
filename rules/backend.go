package rules

import "context"

// Backend puts mappings into a packet filter of one network namespace. It has no state of its own. It is not for use by
// several goroutines at once.
type Backend interface {
	Name() string // as `--backend` calls it
	// Supports returns nil, or why this backend cannot put a mapping into the kernel: an [*UnsupportedError].
	Supports(Mapping) error
	// Live reads what the kernel holds of ours, with counters.
	Live(context.Context) (Live, error)
	// Temporary reads only the temporary mappings. It is quick however many others are live.
	Temporary(context.Context) ([]Mapping, error)
	// Apply does the whole change in one transaction, or nothing of it. To add what is there already may succeed. The
	// error is an [*UnsupportedError], [ErrDrift], or has the kernel's errno, for [errors.As].
	Apply(context.Context, Change) error
	Close() error // what is live stays
}

// Looker is a Backend that finds some mappings without reading all others.
type Looker interface {
	// LookFor returns what Live says of these mappings; false if only Live can tell.
	LookFor(context.Context, []Mapping) (live Live, tells bool, err error)
}
