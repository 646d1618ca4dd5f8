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
	"portmap/rules/notify"
)

// HostRepairer is the Repairer of a real host. It remembers what no file holds: the last file that was right, and the
// temporary mappings.
type HostRepairer struct {
	host *reconcile.Host

	seen []byte // the file at the last look that came to an end, right or wrong
	// the last that could be applied, or the first, of which some lines could; nil before there was one
	good      []byte
	temporary []rules.Mapping
	filter    *filters.Filter // whose changes are heard
	changes   notify.Source   // nil if there is no source of them
	refused   *refusal        // of a file without a mapping; nil while there is none
}

// refusal is a file that was refused because it has no mapping. It stays refused until it is written again: others who
// then flush the rules do not make it right.
type refusal struct {
	file os.FileInfo // nil for one that does not exist
	err  error
}

// NewHostRepairer returns the Repairer of a host, which must not be in use yet.
func NewHostRepairer(h *reconcile.Host) *HostRepairer {
	m := &HostRepairer{host: h}
	h.File.LockTimeout = lookWithin / 2 // a process that holds the lock for longer is reported, and waited for again
	return m
}

// Repair makes the kernel match the file. If the file is invalid, the last valid version stays live; if there was none,
// its valid lines are applied. Of a file that cannot be read nothing is known then: the error is its.
func (m *HostRepairer) Repair(ctx context.Context) (Repaired, error) {
	read, wrong := m.host.ReadFile()
	g := reconcile.RepairOptions{Read: read, Seen: m.seen, Good: m.good, Temporary: m.temporary}
	if wrong == nil {
		g.Read.Content = append([]byte{}, read.Content...) // never nil: that is for a file that was never read
		repaired, err := m.apply(ctx, g)
		if err == nil {
			return repaired, nil
		}
		if !m.blames(err, g.Read.Content) {
			return repaired, err
		}
		m.seen, wrong = g.Read.Content, err
		if m.good == nil && !errors.As(err, new(*reconcile.OpenError)) {
			m.good = g.Read.Content
		}
	} else {
		g.Seen = nil // whether it was edited is not known
	}
	if m.good == nil {
		return Repaired{}, wrong
	}
	g.Good, g.Keep, g.StillWrong = m.good, true, m.stillWrong
	m.host.KeepGoing = true
	defer func() { m.host.KeepGoing = false }()
	report, err := m.host.Repair(ctx, g)
	repaired := m.repaired(report, err)
	repaired.Wrong, repaired.Partly = wrong, bytes.Equal(m.good, m.seen)
	return repaired, err
}

// apply makes the kernel match the file that was read.
func (m *HostRepairer) apply(ctx context.Context, g reconcile.RepairOptions) (Repaired, error) {
	if err := m.stillRefused(g.Read.Info); err != nil {
		return Repaired{Edited: m.edited(g)}, err
	}
	report, err := m.host.Repair(ctx, g)
	m.refuse(g.Read.Info, err)
	if err != nil {
		return Repaired{Edited: m.edited(g)}, err
	}
	m.seen = append([]byte{}, report.Content...)
	m.good = m.seen
	return m.repaired(report, nil), nil
}

func (m *HostRepairer) edited(g reconcile.RepairOptions) bool {
	return m.seen != nil && !bytes.Equal(g.Read.Content, m.seen)
}

// repaired records what a repair left live, and returns what it did.
func (m *HostRepairer) repaired(report reconcile.Repaired, err error) Repaired {
	h := Repaired{Damage: report.Damaged, Edited: report.Edited, Total: report.Saved + len(report.Temporary),
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
func (m *HostRepairer) stillRefused(file os.FileInfo) error {
	switch {
	case m.refused == nil:
		return nil
	case reconcile.Same(file, m.refused.file):
		return m.refused.err
	}
	return nil
}

func (m *HostRepairer) refuse(file os.FileInfo, err error) {
	m.refused = nil
	if errors.As(err, new(*reconcile.EmptyError)) {
		m.refused = &refusal{file, err}
	}
}

// Changes opens the source of changes of the packet filter in use, and keeps it until another one is in use.
func (m *HostRepairer) Changes(ctx context.Context) notify.Source {
	filter, err := m.host.Filter(ctx, true)
	if err != nil || filter == m.filter {
		return m.changes // the repair reports an error
	}
	if m.changes != nil {
		_ = m.changes.Close()
	}
	m.filter, m.changes = nil, nil
	if filter.Changes == nil {
		return nil
	}
	if opened, err := filter.Changes(); err == nil { // else the next look tries again
		m.filter, m.changes = filter, opened
	}
	return m.changes
}

// Close closes the source of changes.
func (m *HostRepairer) Close() error {
	if m.changes == nil {
		return nil
	}
	return m.changes.Close()
}

// blames reports whether an error is the file's fault, and not the kernel's or the moment's. That a packet filter
// cannot be opened is the fault of a file that has just begun to name it, and that another file has the port, of an
// edit.
func (m *HostRepairer) blames(err error, content []byte) bool {
	return errors.As(err, new(*conf.LineError)) || errors.As(err, new(*rules.InvalidError)) ||
		errors.As(err, new(*rules.UnsupportedError)) || errors.As(err, new(*rules.ConflictError)) ||
		errors.As(err, new(*rules.LoopError)) || errors.As(err, new(*store.RefusedError)) ||
		errors.As(err, new(*reconcile.EmptyError)) ||
		errors.As(err, new(*reconcile.OtherFileError)) && m.good != nil ||
		errors.As(err, new(*reconcile.OpenError)) && m.good != nil && conf.Backend(content) != conf.Backend(m.good)
}

// stillWrong reports whether the file is still the one that was found wrong. While this process waited for the lock, a
// command may have written another.
func (m *HostRepairer) stillWrong() bool {
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
