package ipt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"portmap/rules"
	"portmap/rules/facts"
)

// Options say where and how iptables is found. The zero value is right for a host.
type Options struct {
	Variant Variant       // the one to use; empty to find out
	Folders []string      // where programs are; empty for those of the system
	Wait    time.Duration // how long to wait for the xtables lock, in whole seconds; 0 for ten
	Users   rules.Users   // resolves the owners that rules name; without it such a mapping looks damaged
}

func (o Options) folders() []string {
	if len(o.Folders) == 0 {
		return systemFolders()
	}
	return o.Folders
}

// Backend is the iptables of this host, in the network namespace of the thread that calls it. It is not for use by
// several goroutines at once.
type Backend struct {
	use    tools
	other  *tools // the other variant, where the host has it
	wait   string
	users  rules.Users
	tables tables
}

// Open finds the variant that is in use: the one that holds our rules, else the one that holds more rules of others,
// else the one that the host calls iptables. The error is an [*Error].
func Open(ctx context.Context, o Options) (*Backend, error) {
	if o.Wait == 0 {
		o.Wait = 10 * time.Second
	}
	found, err := installed(ctx, o.folders())
	if err != nil {
		return nil, err
	}
	b := &Backend{use: found[0], users: o.Users, wait: fmt.Sprintf("--wait=%d", int(o.Wait.Seconds()))}
	if len(found) == 1 {
		if o.Variant != "" && found[0].variant != o.Variant {
			return nil, &Error{Why: "this host has no " + string(o.Variant)}
		}
		return b, nil
	}
	b.other = &found[1]
	swap := found[1].variant == o.Variant
	if o.Variant == "" {
		if swap, err = b.otherIsInUse(ctx); err != nil {
			return nil, err
		}
	}
	if swap {
		b.use, b.other = found[1], &found[0]
	}
	return b, nil
}

// otherIsInUse decides between two variants: what Docker and Kubernetes do, with our own rules before those of others.
func (b *Backend) otherIsInUse(ctx context.Context) (bool, error) {
	if ours, err := b.holds(ctx, b.use); err != nil || ours {
		return false, err
	}
	if ours, err := b.holds(ctx, *b.other); notInUse(err) {
		return false, nil
	} else if err != nil || ours {
		return ours, err
	}
	first, err := b.count(ctx, b.use)
	if err != nil {
		return false, err
	}
	second, err := b.count(ctx, *b.other)
	if notInUse(err) {
		return false, nil
	}
	return second > first, err
}

// count returns how many rules a variant holds, in all tables; of one that this kernel lacks, -1.
func (b *Backend) count(ctx context.Context, t tools) (int, error) {
	n := 0
	for i, p := range t.programs {
		if p.main == "" || t.variant == Legacy && !legacyTables(families[i], "") {
			continue
		}
		for _, args := range t.savingAll() {
			output, err := run(ctx, p.save, args...)
			var e *Error
			switch {
			case errors.As(err, &e) && e.unavailable:
				return -1, nil
			case err != nil:
				return 0, err
			}
			n += strings.Count(string(output), "\n-A ")
		}
	}
	return n, nil
}

// savingAll returns the arguments of iptables-save, for as many runs as it takes to save all tables. Without any it is
// /proc that tells iptables-legacy-save which there are (iptables/iptables-save.c, for_each_table).
func (t tools) savingAll() [][]string {
	if t.variant == Legacy && !exists(procNet) {
		return [][]string{{"-t", "filter"}, {"-t", "nat"}, {"-t", "mangle"}}
	}
	return [][]string{nil}
}

// Name returns "iptables".
func (b *Backend) Name() string { return "iptables" }

// Variants returns which of the two rule sets is changed, and the other, where the host has it.
func (b *Backend) Variants() (used, other Variant) {
	if b.other != nil {
		other = b.other.variant
	}
	return b.use.variant, other
}

// Describe says what was found on this host: the variant, its version, the program.
func (b *Backend) Describe(ctx context.Context) string {
	path := b.use.programs[0].main
	says, err := run(ctx, path, "--version") // "iptables v1.8.9 (nf_tables)"
	if words := strings.Fields(string(says)); err == nil && len(words) > 1 {
		return fmt.Sprintf("%s %s (%s)", b.use.variant, strings.TrimPrefix(words[1], "v"), path)
	}
	return fmt.Sprintf("%s (%s)", b.use.variant, path)
}

// Limits returns the families that this host's iptables cannot do, and why; 0 where it can do both.
func (b *Backend) Limits() (rules.Families, string) {
	has, why := b.use.has()
	return rules.BothFamilies &^ has, why
}

// Supports returns nil, or an [*rules.UnsupportedError].
func (b *Backend) Supports(m rules.Mapping) error { return supported(&m) }

// Close lets go of the kernel. What is live stays.
func (b *Backend) Close() error { return b.tables.close() }

// Present reports whether this host's iptables holds mappings of ours, in either variant. A host without iptables does
// not, nor does a variant that the kernel lacks or that this process may not ask. Any other error of a look is
// returned.
func Present(ctx context.Context, o Options) (bool, error) {
	found, err := installed(ctx, o.folders())
	if notInUse(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	b := &Backend{}
	defer b.Close()
	for _, t := range found {
		if ours, err := b.holds(ctx, t); !notInUse(err) && (err != nil || ours) {
			return ours, err
		}
	}
	return false, nil
}

// holds reports whether a variant holds mappings of ours: as soon as there is one, there is the chain with notes.
func (b *Backend) holds(ctx context.Context, t tools) (bool, error) {
	noted, err := b.notes(ctx, t)
	return noted.there, err
}

// notes looks at the chain with notes.
func (b *Backend) notes(ctx context.Context, t tools) (chainState, error) {
	list, err := b.listChains(ctx, t, chainRef{0, textID})
	if err != nil {
		return chainState{}, err
	}
	return list[0], nil
}

// Live reads both families, and looks whether the other variant holds something of ours, too.
func (b *Backend) Live(ctx context.Context) (rules.Live, error) {
	live, err := b.live(ctx, b.use)
	if err != nil || b.other == nil || live.Damaged != "" {
		return live, err
	}
	s, err := b.read(ctx, *b.other)
	switch {
	case notInUse(err):
	case err != nil:
		return rules.Live{}, err
	case !s.empty():
		live.Damaged = fmt.Sprintf("%s holds rules of portmap, beside %s", b.other.variant, b.use.variant)
	}
	return live, nil
}

// Apply does the whole change: one transaction a family, and when a later one fails, the earlier ones are taken back.
// Errors: a [*rules.UnsupportedError] before the kernel is asked, [rules.ErrDrift] where the change does not fit what
// is there, else an [*Error].
func (b *Backend) Apply(ctx context.Context, change rules.Change) error {
	for _, list := range [...][]rules.Mapping{change.Add, change.Remove} {
		if err := b.check(list); err != nil {
			return err
		}
	}
	if err := facts.Resolved(change.Add); err != nil {
		return err
	}
	steps, small, err := b.small(ctx, change)
	if err == nil && !small {
		steps, err = b.whole(ctx, change)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	lasting := context.WithoutCancel(ctx) // what was begun is seen through to its end
	err = b.carryOut(lasting, steps)
	if !change.Reset || !errors.Is(err, rules.ErrDrift) {
		return err
	}
	// A Reset is right whatever is there. What was read for it was history already, or iptables-nft-restore did not see
	// a rule that is there, for the same reason as iptables-nft-save.
	change.From = nil
	if steps, err = b.whole(lasting, change); err != nil {
		return err
	}
	return b.carryOut(lasting, steps)
}

// Temporary returns the live mappings that are in no file. Their texts, and few others, are noted in a chain of their
// own.
func (b *Backend) Temporary(ctx context.Context) ([]rules.Mapping, error) {
	noted, err := b.notes(ctx, b.use)
	if err != nil || len(noted.comments) == 0 {
		return nil, err
	}
	s, err := b.read(ctx, b.use)
	if err != nil {
		return nil, err
	}
	var found []rules.Mapping
	for _, m := range s.mappings() {
		if m.Temporary() {
			found = append(found, m)
		}
	}
	return found, nil
}
