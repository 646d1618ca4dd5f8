package filters

import (
	"context"

	"portmap/rules"
	"portmap/rules/notify"
)

// Filter is an open packet filter and its properties. A zero field stands for the default.
type Filter struct {
	rules.Backend

	// the variant in use, and the other one that the host has; "" if there are no variants
	Used, Other string
	Describe    func(context.Context) string              // the variant, its version and the program
	Limits      func() (lacks rules.Families, why string) // the families that this host lacks
	Changes     func() (notify.Source, error)             // opens the source of changes; nil if there is none

	SharesTables bool // other tools use its tables, too
	Legacy       bool // its rules are in x_tables: those of iptables-legacy
}

// Description returns the name of the filter, and its variant and version, if known.
func (f *Filter) Description(ctx context.Context) string {
	if f.Describe == nil {
		return f.Name()
	}
	return f.Name() + " by " + f.Describe(ctx)
}
