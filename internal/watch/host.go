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

// HostRepairer is the Repairer of a real host. It remembers the last valid content of the file, and the temporary
// mappings.
type HostRepairer struct {
	host *reconcile.Host

	seen []byte // the content of the file at the last complete check, valid or not
	// the last content that was applied, or the first one, if only some of its lines were; nil before that
	good      []byte
	temporary []rules.Mapping
	filter    *filters.Filter // the filter that changes belongs to
	changes   notify.Source   // nil if there is none
	refused   *refusal        // nil if the file was not refused
}

// refusal is a file that was refused because it has no mapping. It stays refused until it is written again, even if
// others flush the rules meanwhile.
type refusal struct {
	file os.FileInfo // nil for a missing file
	err  error
}

// NewHostRepairer returns the Repairer of a host. The host must not be in use yet.
func NewHostRepairer(h *reconcile.Host) *HostRepairer {
	m := &HostRepairer{host: h}
	h.File.LockTimeout = checkTimeout / 2 // if a process holds the lock for longer, report it and wait again
	return m
}

// Repair makes the kernel match the file. If the file is invalid, the last valid version stays live; if there was none,
// its valid lines are applied. If the file cannot be read and there was no valid version, Repair returns that error.
func (m *HostRepairer) Repair(ctx context.Context) (Repaired, error) {
	read, wrong := m.host.ReadFile()
	g := reconcile.RepairOptions{Read: read, Seen: m.seen, Good: m.good, Temporary: m.temporary}
	if wrong == nil {
		g.Read.Content = append([]byte{}, read.Content...) // not nil, which stands for a file that was never read
		repaired, err := m.apply(ctx, g)
		if err == nil {
			return repaired, nil
		}
		if !m.fileAtFault(err, g.Read.Content) {
			return repaired, err
		}
		m.seen, wrong = g.Read.Content, err
		if m.good == nil && !errors.As(err, new(*reconcile.OpenError)) {
			m.good = g.Read.Content
		}
	} else {
		g.Seen = nil // it is unknown whether the file was edited
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
	r := Repaired{Damage: report.Damaged, Edited: report.Edited, Total: report.Saved + len(report.Temporary),
		Warnings: report.Warnings}
	if err == nil {
		m.temporary = report.Temporary
	}
	for _, o := range report.Outcomes {
		if o.Verb == reconcile.Removed {
			r.Removed = append(r.Removed, o.Mapping)
		} else {
			r.Added = append(r.Added, o.Mapping)
		}
	}
	return r
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

// Changes opens the source of changes of the packet filter in use, and keeps it until another filter is in use.
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
	if opened, err := filter.Changes(); err == nil { // else the next check tries again
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

// fileAtFault reports whether an error comes from the content of the file, and not from the kernel or the moment. A
// packet filter that cannot be opened counts if the file has just begun to name it; a port of another file, if it comes
// from an edit.
func (m *HostRepairer) fileAtFault(err error, content []byte) bool {
	return errors.As(err, new(*conf.LineError)) || errors.As(err, new(*rules.InvalidError)) ||
		errors.As(err, new(*rules.UnsupportedError)) || errors.As(err, new(*rules.ConflictError)) ||
		errors.As(err, new(*rules.LoopError)) || errors.As(err, new(*store.RefusedError)) ||
		errors.As(err, new(*reconcile.EmptyError)) ||
		errors.As(err, new(*reconcile.OtherFileError)) && m.good != nil ||
		errors.As(err, new(*reconcile.OpenError)) && m.good != nil && conf.Backend(content) != conf.Backend(m.good)
}

// stillWrong reports whether the file is still the invalid one. A command may have written another one while this
// process waited for the lock.
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
