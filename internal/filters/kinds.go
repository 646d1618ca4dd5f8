package filters

import (
	"context"
	"errors"
	"io"

	"portmap/ipt"
	"portmap/nft"
	"portmap/rules"
	"portmap/rules/notify"

	"golang.org/x/sys/unix"
)

// Kind is one packet filter, whether this host has it or not.
type Kind struct {
	Name string // as --backend, the file and export --format call it

	// Present reports whether the filter holds our mappings. It is quick. The errors of Present, Try and Open that
	// concern the choice are [*UnusableError] and [*DeniedError].
	Present func(context.Context) (bool, error)

	// Try checks that the kernel supports what mappings need, and leaves nothing behind.
	Try func(context.Context) error

	// Open opens the filter for use.
	Open func(context.Context) (*Filter, error)

	// Export writes a Set as text that the filter's own tool loads. If such a text is for one family only, Export
	// writes the given families.
	Export func(io.Writer, rules.Set, rules.Families) error
}

// All returns the kinds, the preferred one first. The users are those that mappings name as owners.
func All(users rules.Users) []Kind {
	return []Kind{
		{
			Name: "nft", Present: presentNFT, Try: tryNFT,
			Open:   func(context.Context) (*Filter, error) { return openNFT(users) },
			Export: func(w io.Writer, set rules.Set, _ rules.Families) error { return nft.WriteText(w, set) },
		},
		{
			Name: "iptables", Present: presentIPTables, Try: func(context.Context) error { return nil },
			Open:   func(ctx context.Context) (*Filter, error) { return openIPTables(ctx, users) },
			Export: ipt.WriteText,
		},
	}
}

// Names returns the names of kinds.
func Names(kinds []Kind) []string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

func presentNFT(context.Context) (holds bool, err error) {
	err = withNFT(func(b *nft.Backend) (err error) {
		holds, err = b.Present()
		return err
	})
	if errors.Is(err, nft.ErrMissing) {
		return false, noNFT(err)
	}
	return holds, deniedNFT(err)
}

func tryNFT(context.Context) error {
	err := withNFT((*nft.Backend).Probe)
	if lacking(err) {
		return noNFT(err)
	}
	return deniedNFT(err)
}

func withNFT(do func(*nft.Backend) error) error {
	b, err := nft.Open()
	if err != nil {
		return err
	}
	defer b.Close()
	return do(b)
}

func openNFT(users rules.Users) (*Filter, error) {
	b, err := nft.Open()
	if errors.Is(err, nft.ErrMissing) {
		return nil, noNFT(err)
	} else if err != nil {
		return nil, err
	}
	b.Resolve(users)
	return &Filter{Backend: b, Changes: func() (notify.Source, error) { return nft.Listen() }}, nil
}

func noNFT(err error) error {
	if errors.Is(err, nft.ErrMissing) {
		return &UnusableError{Err: err, Cure: "sudo modprobe nf_tables"}
	}
	return &UnusableError{Err: err, Cure: "use Linux 5.11 or newer, which has all that nft needs"}
}

// deniedNFT wraps an error that says that nf_tables exists but must not be used: a missing permission, or a foreign
// table of our name.
func deniedNFT(err error) error {
	if errors.Is(err, unix.EPERM) || errors.As(err, new(*nft.ForeignError)) || errors.As(err, new(*nft.OwnedError)) {
		return &DeniedError{err}
	}
	return err
}

// lacking reports whether an error of nf_tables says that the kernel lacks a part that is needed (nf_tables_api.c,
// nft_expr_type_get and nft_chain_validate_hook). Any other error is temporary, and no reason to use iptables from now
// on.
func lacking(err error) bool {
	if errors.Is(err, nft.ErrMissing) {
		return true
	}
	for _, errno := range [...]unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EINVAL, unix.EAFNOSUPPORT,
		unix.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func presentIPTables(ctx context.Context) (bool, error) { return ipt.Present(ctx, ipt.Options{}) }

// openIPTables ignores iptables-nft if the kernel has no nf_tables, which iptables-nft needs.
func openIPTables(ctx context.Context, users rules.Users) (*Filter, error) {
	options, cure := ipt.Options{Users: users}, "install iptables"
	if _, err := presentNFT(ctx); errors.Is(err, nft.ErrMissing) {
		options.Variant, cure = ipt.Legacy, "install iptables-legacy"
	}
	b, err := ipt.Open(ctx, options)
	if err != nil {
		return nil, &UnusableError{Err: err, Cure: cure}
	}
	changes := func() (notify.Source, error) { return nft.Listen() } // iptables-nft works through nf_tables
	used, other := b.Variants()
	if used == ipt.Legacy {
		changes = func() (notify.Source, error) { return ipt.ListenLegacy() }
	}
	return &Filter{
		Backend: b, Used: string(used), Other: string(other), Describe: b.Describe, Limits: b.Limits,
		SharesTables: true,
		Legacy:       used == ipt.Legacy, Changes: changes,
	}, nil
}
