package watch

import (
	"bytes"
	"context"
	"errors"
	"os"

	"portmap/internal/conf"
	"portmap/internal/filters"
	"portmap/internal/reconcile"
	"portmap/internal/store"
	"portmap/rules"
)

// Mender is the Healer of a real host. It remembers what no file holds: the last file that was right, and the temporary
// mappings.
type Mender struct {
	host *reconcile.Host

	seen []byte // the file at the last look that came to an end, right or wrong
	// the last that could be applied, or the first, of which some lines could; nil before there was one
	good      []byte
	temporary []rules.Mapping
	filter    *filters.Filter // whose changes are heard
	changes   rules.Changes   // nil: nothing tells of them
	refused   *refusal        // of a file without a mapping; nil while there is none
}

// refusal is a file that was refused because it has no mapping. It stays refused until it is written again: others who
// then flush the rules do not make it right.
type refusal struct {
	file os.FileInfo // nil for one that does not exist
	err  error
}

// NewMender returns the Healer of a host, which must not be in use yet.
func NewMender(h *reconcile.Host) *Mender {
	m := &Mender{host: h}
	h.File.LockTimeout = lookWithin / 2 // who holds the lock for longer is told of, and waited for again
	return m
}

// Heal makes the kernel match the file. If the file is invalid, the last valid version stays live; if there was none,
// its valid lines are applied. Of a file that cannot be read nothing is known then: the error is its.
func (m *Mender) Heal(ctx context.Context) (Healed, error) {
	read, wrong := m.host.ReadFile()
	g := reconcile.Healing{Read: read, Seen: m.seen, Good: m.good, Temporary: m.temporary}
	if wrong == nil {
		g.Read.Content = append([]byte{}, read.Content...) // never nil: that is for a file that was never read
		healed, err := m.apply(ctx, g)
		if err == nil {
			return healed, nil
		}
		if !m.blames(err, g.Read.Content) {
			return healed, err
		}
		m.seen, wrong = g.Read.Content, err
		if m.good == nil && !errors.As(err, new(*reconcile.OpenError)) {
			m.good = g.Read.Content
		}
	} else {
		g.Seen = nil // whether it was edited is not known
	}
	if m.good == nil {
		return Healed{}, wrong
	}
	g.Good, g.Keep, g.StillWrong = m.good, true, m.stillWrong
	m.host.KeepGoing = true
	defer func() { m.host.KeepGoing = false }()
	report, err := m.host.Heal(ctx, g)
	healed := m.healed(report, err)
	healed.Wrong, healed.Partly = wrong, bytes.Equal(m.good, m.seen)
	return healed, err
}

// apply makes the kernel match the file that was read.
func (m *Mender) apply(ctx context.Context, g reconcile.Healing) (Healed, error) {
	if err := m.stillRefused(g.Read.Info); err != nil {
		return Healed{Edited: m.edited(g)}, err
	}
	report, err := m.host.Heal(ctx, g)
	m.refuse(g.Read.Info, err)
	if err != nil {
		return Healed{Edited: m.edited(g)}, err
	}
	m.seen = append([]byte{}, report.Content...)
	m.good = m.seen
	return m.healed(report, nil), nil
}

func (m *Mender) edited(g reconcile.Healing) bool {
	return m.seen != nil && !bytes.Equal(g.Read.Content, m.seen)
}

// healed remembers what a heal left live, and tells what it did.
func (m *Mender) healed(report reconcile.Healed, err error) Healed {
	h := Healed{Damage: report.Damaged, Edited: report.Edited, Total: report.Saved + len(report.Temporary),
		Warnings: report.Warnings}
	if err == nil {
		m.temporary = report.Temporary
	}
	for _, o := range report.Outcomes {
		if o.Verb == reconcile.Removed {
			h.Removed = append(h.Removed, o.Mapping)
		} else {
			h.Added = append(h.Added, o.Mapping)
		}
	}
	return h
}

// stillRefused returns why the file was refused, if it is the same one.
func (m *Mender) stillRefused(file os.FileInfo) error {
	switch {
	case m.refused == nil:
		return nil
	case reconcile.Same(file, m.refused.file):
		return m.refused.err
	}
	return nil
}

func (m *Mender) refuse(file os.FileInfo, err error) {
	m.refused = nil
	if errors.As(err, new(*reconcile.EmptyError)) {
		m.refused = &refusal{file, err}
	}
}

// Changes opens what tells of changes to the rules of the packet filter in use, and keeps it until that is another one.
func (m *Mender) Changes(ctx context.Context) rules.Changes {
	filter, err := m.host.Filter(ctx)
	if err != nil || filter == m.filter {
		return m.changes // of an error the heal tells
	}
	if m.changes != nil {
		_ = m.changes.Close()
	}
	m.filter, m.changes = filter, nil
	if filter.Changes != nil {
		if opened, err := filter.Changes(); err == nil {
			m.changes = opened
		}
	}
	return m.changes
}

// Close ends what tells of changes.
func (m *Mender) Close() error {
	if m.changes == nil {
		return nil
	}
	return m.changes.Close()
}

// blames reports whether an error is the file's fault, and not the kernel's or the moment's. That a packet filter
// cannot be opened is the fault of a file that has just begun to name it, and that another file has the port, of an
// edit.
func (m *Mender) blames(err error, content []byte) bool {
	return errors.As(err, new(*conf.LineError)) || errors.As(err, new(*rules.InvalidError)) ||
		errors.As(err, new(*rules.UnsupportedError)) || errors.As(err, new(*rules.ConflictError)) ||
		errors.As(err, new(*rules.LoopError)) || errors.As(err, new(*store.RefusedError)) ||
		errors.As(err, new(*reconcile.EmptyError)) ||
		errors.As(err, new(*reconcile.OtherFileError)) && m.good != nil ||
		errors.As(err, new(*reconcile.OpenError)) && m.good != nil && conf.Backend(content) != conf.Backend(m.good)
}

// stillWrong reports whether the file is still the one that was found wrong. While this process waited for the lock, a
// command may have written another.
func (m *Mender) stillWrong() bool {
	content, err := m.host.File.Read()
	if err != nil {
		return true
	}
	if m.refused == nil {
		return bytes.Equal(content, m.seen)
	}
	file, _ := os.Stat(m.host.File.Path)
	return m.stillRefused(file) != nil
}
