package reconcile

import (
	"context"
	"errors"
	"fmt"

	"portmap/internal/store"
	"portmap/ipt"
	"portmap/nft"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// OpenBackend opens the packet filter of this host that is to be used: the one that flag names; for "auto" the one that the
// file fixes, else the one that holds mappings already, else nft where the kernel has it, else iptables. Where the other one
// holds mappings, too, what is opened is both: it reads both, and a change that resets moves them.
//
// everywhere looks for such mappings also where the one to be used holds some.
func OpenBackend(ctx context.Context, flag, saved string, everywhere bool) (rules.Backend, error) {
	name, err := requested(flag, saved)
	if err != nil {
		return nil, err
	}
	var o opened
	f, err := o.survey(ctx, name, everywhere)
	if err != nil {
		o.closeAllBut(choice{})
		return nil, err
	}
	c, err := choose(f)
	o.closeAllBut(c)
	if err != nil {
		return nil, err
	}
	return o.backend(c), nil
}

// opened are the packet filters that were opened to ask them; nil for one that was not, or cannot be.
type opened struct {
	tables *nft.Backend
	chains *ipt.Backend
}

// survey finds out what the choice depends on, and no more: to ask iptables costs a process, to try nft a
// transaction. A packet filter that is not asked is taken for usable, and for one without mappings.
func (o *opened) survey(ctx context.Context, name string, everywhere bool) (facts, error) {
	f := facts{requested: name}
	var err error
	f.nft, err = o.askTables()
	switch denied := refused(err); {
	case denied && name != iptablesName:
		return f, nil // what is asked of nft later will say so
	case err != nil && !denied:
		return f, err
	}
	if name != iptablesName && (everywhere || !f.nft.holds) {
		if f.iptables.holds, err = ipt.Present(ctx, ipt.Options{}); err != nil {
			return f, err
		}
	}
	if name == "" && !f.nft.holds && !f.iptables.holds && f.nft.unusable == nil {
		if err := o.tables.Probe(); lacking(err) {
			f.nft.unusable = err
		} else if err != nil && !refused(err) {
			return f, err
		}
	}
	if name == iptablesName || f.iptables.holds || f.nft.unusable != nil {
		f.iptables.unusable = o.openChains(ctx, f.nft.unusable)
	}
	return f, nil
}

// refused reports whether nf_tables is there and not to be used: without permission, or because the table of our name is
// somebody else's.
func refused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.As(err, new(*nft.ForeignError)) || errors.As(err, new(*nft.OwnedError))
}

// lacking reports whether an error of nf_tables says that the kernel has no part of it that is needed (nf_tables_api.c,
// nft_expr_type_get and nft_chain_validate_hook). Any other error is of the moment, and no reason to use iptables for good.
func lacking(err error) bool {
	if errors.Is(err, nft.ErrMissing) {
		return true
	}
	for _, errno := range [...]unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EINVAL, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// askTables opens nf_tables, and asks for mappings. That the kernel has none is no error.
func (o *opened) askTables() (filter, error) {
	tables, err := nft.Open()
	if err == nil {
		o.tables = tables
		var holds bool
		if holds, err = tables.Present(); err == nil {
			return filter{holds: holds}, nil
		}
	}
	if errors.Is(err, nft.ErrMissing) {
		return filter{unusable: err}, nil
	}
	return filter{}, err
}

// openChains opens iptables. Where the kernel has no nf_tables, iptables-nft is of no use: it works through them.
func (o *opened) openChains(ctx context.Context, tables error) (err error) {
	options := ipt.Options{}
	if errors.Is(tables, nft.ErrMissing) {
		options.Variant = ipt.Legacy
	}
	o.chains, err = ipt.Open(ctx, options)
	return err
}

// closeAllBut closes what is not part of the choice.
func (o *opened) closeAllBut(c choice) {
	if o.tables != nil && c.use != nftName && c.from != nftName {
		o.tables.Close()
	}
	if o.chains != nil && c.use != iptablesName && c.from != iptablesName {
		o.chains.Close()
	}
}

// backend returns what was chosen.
func (o *opened) backend(c choice) rules.Backend {
	switch {
	case c == choice{nftName, iptablesName}:
		return &moving{Backend: o.tables, old: o.chains}
	case c == choice{iptablesName, nftName}:
		return &moving{Backend: o.chains, old: o.tables}
	case c.use == nftName:
		return o.tables
	}
	return o.chains
}

// moving is two packet filters that both hold mappings: the one to be used, and one from which they are to go.
type moving struct {
	rules.Backend
	old    rules.Backend
	before [2][]rules.Mapping // what each held before Apply
}

// Live reads both. They are damaged by being two.
func (m *moving) Live(ctx context.Context) (rules.Live, error) {
	live, err := m.Backend.Live(ctx)
	if err != nil {
		return rules.Live{}, err
	}
	other, err := m.old.Live(ctx)
	if err != nil {
		return rules.Live{}, err
	}
	m.before = [2][]rules.Mapping{mappings(live), mappings(other)}
	here := map[string]int{}
	for i := range live.Mappings {
		here[live.Mappings[i].String()] = i
	}
	for _, o := range other.Mappings {
		if i, both := here[o.String()]; both {
			live.Mappings[i].Connections += o.Connections
		} else {
			live.Mappings = append(live.Mappings, o)
		}
	}
	live.Damaged, live.Foreign = fmt.Sprintf("mappings are live in %s, and belong into %s", m.old.Name(), m.Name()), ""
	return live, nil
}

// Temporary reads both.
func (m *moving) Temporary(ctx context.Context) ([]rules.Mapping, error) {
	list, err := m.Backend.Temporary(ctx)
	if err != nil {
		return nil, err
	}
	other, err := m.old.Temporary(ctx)
	return append(list, rules.Minus(other, list)...), err
}

// Apply takes a change that resets alone. The new rules go in first, then the old ones go: there is no moment without.
func (m *moving) Apply(ctx context.Context, change rules.Change) error {
	if !change.Reset {
		return &MovedError{Lives: m.old.Name(), Chosen: m.Name()}
	}
	if err := m.Backend.Apply(ctx, rules.Change{Reset: true, Remove: m.before[0], Add: change.Add}); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err := m.old.Apply(ctx, rules.Change{Reset: true, Remove: m.before[1]})
	if err == nil {
		return nil
	}
	if undo := m.Backend.Apply(ctx, rules.Change{Reset: true, Remove: change.Add, Add: m.before[0]}); undo != nil {
		return &store.UndoError{Cause: err, What: "what was there", Err: undo}
	}
	return err
}

// back undoes an Apply that succeeded.
func (m *moving) back(ctx context.Context) error {
	if err := m.old.Apply(ctx, rules.Change{Reset: true, Add: m.before[1]}); err != nil {
		return err
	}
	return m.Backend.Apply(ctx, rules.Change{Reset: true, Add: m.before[0]})
}

// Close closes both.
func (m *moving) Close() error { return errors.Join(m.Backend.Close(), m.old.Close()) }

// MovedError says that mappings are live in another backend than the one that was chosen.
type MovedError struct{ Lives, Chosen string }

func (e *MovedError) Error() string {
	return fmt.Sprintf("the mappings of this host are live in %s, not in %s", e.Lives, e.Chosen)
}

// Remedy returns the command that moves them.
func (e *MovedError) Remedy() string { return "to move them: sudo portmap apply --backend " + e.Chosen }

// Silent reports whether the kernel tells nobody of changes to this backend's rules.
func Silent(b rules.Backend) bool {
	i, ok := used(b).(*ipt.Backend)
	if !ok {
		return false
	}
	variant, _ := i.Variants()
	return variant == ipt.Legacy
}

// shared reports whether a backend has tables that are not portmap's alone.
func shared(b rules.Backend) bool {
	_, ok := used(b).(*ipt.Backend)
	return ok
}

// Describe names a backend as exactly as this host tells.
func Describe(ctx context.Context, b rules.Backend) string {
	if i, ok := used(b).(*ipt.Backend); ok {
		return i.Name() + " by " + i.Describe(ctx)
	}
	return b.Name()
}

// used is the backend that changes go to.
func used(b rules.Backend) rules.Backend {
	if m, ok := b.(*moving); ok {
		return m.Backend
	}
	return b
}

// variantNote says which of iptables' rule sets was taken, where the host has both.
func variantNote(b rules.Backend) string {
	if i, ok := used(b).(*ipt.Backend); ok {
		if taken, other := i.Variants(); other != "" {
			return fmt.Sprintf("the rules are those of %s; this host has %s, too", taken, other)
		}
	}
	return ""
}

// moved says that mappings go from one backend to another.
func moved(b rules.Backend, count int, dryRun bool) string {
	m, ok := b.(*moving)
	switch {
	case !ok:
		return ""
	case dryRun:
		return fmt.Sprintf("would move the mappings, %d in all, from %s to %s", count, m.old.Name(), m.Name())
	}
	return fmt.Sprintf("moved the mappings, %d in all, from %s to %s", count, m.old.Name(), m.Name())
}

// limits says what of the mappings cannot be on this host; "" where all can.
func limits(b rules.Backend, set rules.Set) string {
	i, ok := used(b).(*ipt.Backend)
	if !ok {
		return ""
	}
	missing, why := i.Limits()
	if missing == 0 {
		return ""
	}
	for _, m := range set.Mappings() {
		if m.Families()&missing != 0 {
			return fmt.Sprintf("%s: mapped for %s only", why, rules.BothFamilies&^missing)
		}
	}
	return ""
}
