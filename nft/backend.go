package nft

import (
	"context"
	"errors"
	"os"
	"slices"
	"sort"

	"portmap/rules"
	"portmap/rules/facts"
	"portmap/rules/ruletext"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Backend is a connection to the kernel's nf_tables, in the network namespace of the thread that opened it. It
// is not for use by several goroutines at once.
type Backend struct{ *kernel }

// Open connects to nf_tables. Reading and changing need CAP_NET_ADMIN; without it the calls, not Open, answer
// [unix.EPERM].
func Open() (*Backend, error) {
	return open(listKernel)
}

func open(list lister, options ...nftables.ConnOption) (*Backend, error) {
	k := &kernel{socket: &socket{}, list: list}
	k.options = slices.Concat(options, []nftables.ConnOption{
		nftables.AsLasting(), nftables.WithSockOptions(k.socket.prepare),
	})
	return &Backend{k}, k.connect()
}

// Resolve has the Backend look up the owners that the kernel's rules name. Without it only a uid is known there, and a
// mapping whose owner has a name looks damaged.
func (b *Backend) Resolve(users rules.Users) { b.users = users }

// Name returns "nft".
func (b *Backend) Name() string { return "nft" }

// Supports returns nil, or an [*rules.UnsupportedError].
func (b *Backend) Supports(m rules.Mapping) error { return supported(&m) }

// Close ends the connection; what is in the kernel stays.
func (b *Backend) Close() error { return b.conn.CloseLasting() }

// Live reads the table. A host without it has no mappings, and that is no error.
func (b *Backend) Live(ctx context.Context) (rules.Live, error) { return b.live(ctx) }

// Apply does the whole change in one transaction, or nothing. It makes the table when it is missing, and a
// Reset that adds nothing removes it. Errors: a [*rules.UnsupportedError] before the kernel is asked,
// [rules.ErrDrift] where the change does not fit what is there, else the kernel's errno.
func (b *Backend) Apply(ctx context.Context, change rules.Change) error {
	for _, list := range [...][]rules.Mapping{change.Add, change.Remove} {
		if err := allSupported(list); err != nil {
			return err
		}
	}
	if err := facts.Resolved(change.Add); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.apply(ctx, change)
}

// Present reports whether the table is there: whether nf_tables holds mappings of ours. It is quick. A table of
// our name that is somebody else's is a [*ForeignError]. If the kernel has no nf_tables, the error is
// [ErrMissing].
func (b *Backend) Present() (bool, error) {
	info, err := b.table()
	return info.there, err
}

// Probe finds out whether this kernel can do what the mappings need, by trying: it makes all that is there
// without any mapping, and deletes it in the same transaction. Nobody sees any of it. If the table is there
// already, there is nothing to find out. An error of a system call says nothing about the kernel's abilities, so
// it is tried once more.
func (b *Backend) Probe() error {
	there, err := b.Present()
	if err != nil || there {
		return err
	}
	try := func() error {
		_, err := b.commit(transaction{createTable: true, deleteTableAgain: true})
		return err
	}
	if err = try(); errors.As(err, new(*os.SyscallError)) {
		if err = b.reconnect(); err == nil {
			err = try()
		}
	}
	return kernelError(err)
}

// Temporary returns the live mappings that are in no file. It reads only their texts, not the maps.
func (b *Backend) Temporary(context.Context) ([]rules.Mapping, error) {
	if there, err := b.Present(); err != nil || !there {
		return nil, err
	}
	list, err := b.rules(chainTexts)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, kernelError(err)
	}
	var comments []string
	for _, r := range list {
		comments = append(comments, r.comment)
	}
	var found []rules.Mapping
	reader := ruletext.Reader{Users: b.users}
	for _, text := range ruletext.Join(comments) {
		if m, ok := reader.Mapping(text); ok && m.Temporary() {
			found = append(found, m)
		}
	}
	sort.Slice(found, func(i, k int) bool { return facts.Compare(found[i], found[k]) < 0 })
	return found, nil
}
