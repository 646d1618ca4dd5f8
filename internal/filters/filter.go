package filters

import (
	"context"

	"portmap/rules"
	"portmap/rules/notify"
)

// Filter is a packet filter that is open, with what is known of it beside its mappings. A zero field says that there is
// nothing to know.
type Filter struct {
	rules.Backend

	// which of several rule sets it changes, and which the host has, too
	Used, Other string
	Describe    func(context.Context) string              // the variant, its version and the program
	Limits      func() (lacks rules.Families, why string) // what this host cannot do
	Changes     func() (notify.Source, error)             // opens what tells of changes by others; nil: nothing does

	SharesTables bool // its tables are not portmap's alone
	Legacy       bool // its rules are in x_tables: those of iptables-legacy
}

// Description names it as exactly as this host tells.
func (f *Filter) Description(ctx context.Context) string {
	if f.Describe == nil {
		return f.Name()
	}
	return f.Name() + " by " + f.Describe(ctx)
}
