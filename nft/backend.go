package nft

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"portmap/rules"
	"portmap/rules/ruletext"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Backend is a connection to the kernel's nf_tables, in the network namespace of the thread that opened it. It
// is not for use by several goroutines at once.
type Backend struct {
	conn    *nftables.Conn
	socket  *socket
	list    lister
	options []nftables.ConnOption
}

// ErrMissing says that the kernel has no nf_tables. Open finds that out if there is no nfnetlink either, Present
// otherwise.
var ErrMissing = errors.New("this kernel has no nf_tables")

// Open connects to nf_tables. Reading and changing need CAP_NET_ADMIN; without it the calls, not Open, answer
// [unix.EPERM].
func Open() (*Backend, error) {
	return open(listKernel)
}

func open(list lister, options ...nftables.ConnOption) (*Backend, error) {
	b := &Backend{socket: &socket{}, list: list}
	b.options = slices.Concat(options, []nftables.ConnOption{
		nftables.AsLasting(), nftables.WithSockOptions(b.socket.prepare),
	})
	return b, b.connect()
}

func (b *Backend) connect() error {
	conn, err := nftables.New(b.options...)
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT): // af_netlink.c, netlink_create
		return ErrMissing
	case err != nil:
		return kernelError(err)
	}
	b.conn = conn
	return nil
}

// reconnect drops what was queued and what the kernel may still answer.
func (b *Backend) reconnect() error {
	_ = b.conn.CloseLasting()
	return b.connect()
}

// Name returns "nft".
func (b *Backend) Name() string { return "nft" }

// Close ends the connection; what is in the kernel stays.
func (b *Backend) Close() error { return b.conn.CloseLasting() }

// Live reads the table. A host without it has no mappings, and that is no error.
//
// Lists of different chains and maps belong together only when no rule changed between them. And a map that has
// just grown is spread over a larger hash table in the background (lib/rhashtable.c): a list read meanwhile has
// some elements twice and others not at all. So what looks damaged is looked at again before it is believed.
func (b *Backend) Live(ctx context.Context) (live rules.Live, err error) {
	pause := 5 * time.Millisecond
	for looks, times := 0, 0; looks < 6 && times < interruptions; times++ {
		before, err := b.generation()
		if err != nil {
			return rules.Live{}, err
		}
		if live, err = b.read(ctx); err != nil {
			return rules.Live{}, err
		}
		after, err := b.generation()
		if err != nil || after == before && live.Damaged == "" {
			return live, err
		}
		if after == before {
			looks++
		}
		select {
		case <-ctx.Done():
			return rules.Live{}, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
	return live, nil
}

func (b *Backend) read(ctx context.Context) (rules.Live, error) {
	s, err := b.survey()
	if err != nil || !s.info.there {
		return rules.Live{}, err
	}
	r := newReading()
	r.table(s)
	if err := r.compareRules(s.rules, b.finder(s.sets)); err != nil {
		return rules.Live{}, kernelError(err)
	}
	for at, p := range maps() {
		if err := ctx.Err(); err != nil {
			return rules.Live{}, err
		}
		found, err := b.elementsOf(p.name)
		switch {
		case isAbsent(err): // it was said already
		case err != nil:
			return rules.Live{}, kernelError(err)
		}
		for _, e := range found {
			r.element(at, e)
		}
		tcp, err := b.elementsOf(p.tcpSet().Name)
		if err != nil && !isAbsent(err) {
			return rules.Live{}, kernelError(err)
		}
		r.tcpElements(p, found, tcp)
	}
	targets, err := b.elementsOf(targetsName)
	if err != nil && !isAbsent(err) {
		return rules.Live{}, kernelError(err)
	}
	r.targets(targets)
	return r.live(), nil
}

// finder returns the sets in which rules look something up. What those of a rule hold is read when it is asked for.
func (b *Backend) finder(list []kernelSet) setFinder {
	byName := make(map[string]kernelSet, len(list))
	for _, s := range list {
		byName[s.name] = s
	}
	return func(name string) (setContent, error) {
		s := byName[name]
		content := setContent{
			keyLen: s.keyLen, interval: s.flags&unix.NFT_SET_INTERVAL != 0, isMap: s.flags&unix.NFT_SET_MAP != 0,
		}
		if s.flags&unix.NFT_SET_ANONYMOUS == 0 {
			content.name = name
			return content, nil
		}
		var err error
		content.elements, err = b.elementsOf(name)
		return content, err
	}
}

// Present reports whether the table is there: whether nf_tables holds mappings of ours. It is quick. A table of
// our name that is somebody else's is a [*ForeignError]. If the kernel has no nf_tables, the error is
// [ErrMissing].
func (b *Backend) Present() (bool, error) {
	info, err := b.table()
	return info.there, err
}

// Probe finds out whether this kernel can do what the mappings need, by trying: it makes all that is there
// without any mapping, and deletes it in the same transaction. Nobody sees any of it. Where the table is there
// already it has nothing to find out. An error of a system call says nothing about the kernel's abilities, so
// it is tried once more.
func (b *Backend) Probe() error {
	there, err := b.Present()
	if err != nil || there {
		return err
	}
	try := func() error { return b.queue(b.addSkeleton, b.removeTable) }
	if err = try(); errors.As(err, new(*os.SyscallError)) {
		if err = b.reconnect(); err == nil {
			err = try()
		}
	}
	return kernelError(err)
}

// Temporary returns the live mappings that are in no file. It reads their texts alone, not the maps.
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
	for _, text := range ruletext.Join(comments) {
		if m, err := rules.Parse(text); err == nil && m.Temporary() {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, rules.Compare)
	return found, nil
}
