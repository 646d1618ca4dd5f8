package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"portmap/internal/conf"
	"portmap/internal/reconcile"
	"portmap/internal/store"
	"portmap/rules"
)

// Mender is the Healer of a real host. It remembers what no file holds: the last file that was right, and the temporary
// mappings.
type Mender struct {
	host *reconcile.Host

	seen      []byte // the file at the last look that came to an end, right or wrong
	good      []byte // the last that could be applied, or the first, of which some lines could; nil before there was one
	temporary []rules.Mapping
	refused   *refusal // of a file without a mapping; nil while there is none
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

// Heal makes the kernel match the file. With one that is wrong it keeps what the last one said; when there was none, what
// those of its lines say that are right. Of a file that cannot be read at all nothing is known then: the error is its.
//
// Temporary mappings that were lost together with others are put back with them. One that is gone alone was removed.
func (m *Mender) Heal(ctx context.Context) (Healed, error) {
	content, wrong := m.host.File.Read()
	healed := Healed{}
	if wrong == nil {
		content = append([]byte{}, content...) // never nil: that is for a file that was never read
		healed.Edited = m.seen != nil && !bytes.Equal(content, m.seen)
		file, _ := os.Stat(m.host.File.Path)
		err := m.stillRefused(file)
		if err == nil {
			err = m.mend(ctx, content, m.apply, &healed)
		}
		m.refuse(file, err)
		if err == nil {
			m.seen, m.good = content, content
			return healed, nil
		}
		if !m.blames(err, content) {
			return healed, err
		}
		m.seen, wrong = content, err
		if m.good == nil && !errors.As(err, new(*reconcile.OpenError)) {
			m.good = content
		}
	}
	if m.good == nil {
		return healed, wrong
	}
	healed.Wrong, healed.Partly = wrong, bytes.Equal(m.good, m.seen)
	m.host.KeepGoing = true
	defer func() { m.host.KeepGoing = false }()
	return healed, m.mend(ctx, m.good, m.keep, &healed)
}

// stillRefused returns why the file was refused, if it is the same one.
func (m *Mender) stillRefused(file os.FileInfo) error {
	switch {
	case m.refused == nil:
		return nil
	case file == nil || m.refused.file == nil:
		if file == nil && m.refused.file == nil {
			return m.refused.err
		}
	case os.SameFile(file, m.refused.file) && file.ModTime().Equal(m.refused.file.ModTime()):
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

// Silent reports whether nobody tells of changes to the rules: those of iptables-legacy.
func (m *Mender) Silent() bool { return reconcile.Silent(m.host.Backend()) }

// blames reports whether an error is the file's fault, and not the kernel's or the moment's. That a packet filter cannot be
// opened is the fault of a file that has just begun to name it, and that another file has the port, of an edit.
func (m *Mender) blames(err error, content []byte) bool {
	return errors.As(err, new(*conf.LineError)) || errors.As(err, new(*rules.InvalidError)) ||
		errors.As(err, new(*rules.UnsupportedError)) || errors.As(err, new(*rules.ConflictError)) ||
		errors.As(err, new(*rules.LoopError)) || errors.As(err, new(*store.RefusedError)) ||
		errors.As(err, new(*reconcile.EmptyError)) ||
		errors.As(err, new(*reconcile.OtherFileError)) && m.good != nil ||
		errors.As(err, new(*reconcile.OpenError)) && m.good != nil && conf.Backend(content) != conf.Backend(m.good)
}

// mend looks without the lock first: that is the rule, and must not hold up others. Temporary mappings are read before the
// others: what is lost in between is then still known.
func (m *Mender) mend(ctx context.Context, content []byte, change changer, healed *Healed) error {
	target := &reconcile.Content{Name: m.host.File.Path, Bytes: content}
	temporary, err := m.temporaries(ctx, target)
	if err != nil {
		return err
	}
	d, err := m.host.Diff(ctx, target)
	if err != nil {
		return err
	}
	if d.Change.Empty() {
		m.temporary = temporary
	} else {
		if d, err = change(ctx, healed); err != nil {
			return err
		}
		if m.temporary, err = m.afterChange(ctx, temporary, m.flushed(ctx, d, healed), healed); err != nil {
			return err
		}
	}
	text, _, err := conf.ParseGood(ctx, content, m.host.Services)
	if err != nil {
		return err
	}
	healed.Total = text.Set().Len() + len(m.temporary)
	return nil
}

// changer makes a change under the lock, and returns the difference that it found there.
type changer func(context.Context, *Healed) (reconcile.Difference, error)

// witness tells why temporary mappings are gone.
type witness int

const (
	noWitness    witness = iota // no mapping was to stay: it cannot be known
	stillThere                  // a mapping that was to stay did: they were removed
	goneWithThem                // a mapping that was to stay went: everything was flushed
)

// flushed finds out, from what the difference has to put back, whether somebody took more than temporary mappings away.
// After an edit only a mapping that the file had before and still has can tell.
func (m *Mender) flushed(ctx context.Context, d reconcile.Difference, healed *Healed) witness {
	if !healed.Edited || d.Damaged != "" {
		return goneWithThem
	}
	before, _, err := conf.ParseGood(ctx, m.good, m.host.Services)
	if err != nil {
		return noWitness
	}
	if len(rules.Minus(d.Change.Add, before.Set().Mappings())) < len(d.Change.Add) {
		return goneWithThem
	}
	if before.Set().Len() > len(rules.Minus(before.Set().Mappings(), d.Aim().Mappings())) {
		return stillThere
	}
	return noWitness
}

// temporaries reads the temporary mappings. The first Diff opens the backend.
func (m *Mender) temporaries(ctx context.Context, content *reconcile.Content) ([]rules.Mapping, error) {
	if m.host.Backend() == nil {
		if _, err := m.host.Diff(ctx, content); err != nil {
			return nil, err
		}
	}
	return m.host.Backend().Temporary(ctx)
}

// afterChange puts back temporary mappings, too, and returns those that are to be live. Where under the lock there was
// nothing to mend, another command was at work: what it removed is not lost.
func (m *Mender) afterChange(ctx context.Context, before []rules.Mapping, why witness, healed *Healed) ([]rules.Mapping, error) {
	if !healed.Changed() {
		return m.host.Backend().Temporary(ctx)
	}
	m.temporary = union(m.temporary, before)
	err := m.putBack(ctx, why, healed)
	return m.temporary, err
}

func union(a, b []rules.Mapping) []rules.Mapping { return append(rules.Minus(a, b), b...) }

// putBack adds the temporary mappings that went with others. When they do not go with what the file says now, the file's
// stand.
func (m *Mender) putBack(ctx context.Context, why witness, healed *Healed) error {
	there, err := m.host.Backend().Temporary(ctx)
	if err != nil {
		return err
	}
	lost := rules.Minus(m.temporary, there)
	if len(lost) == 0 || why != goneWithThem {
		m.temporary = there
		if len(lost) > 0 && why == noWitness {
			healed.Warnings = append(healed.Warnings, fmt.Sprintf("temporary mappings are gone, and it cannot be known who took them: %s", join(lost)))
		}
		return nil
	}
	if healed.Wrong != nil { // Add would read the file
		_, err = m.keepWith(ctx, lost, healed)
	} else if _, err = m.host.Add(ctx, lost, reconcile.AddOptions{}); err == nil {
		healed.Added = append(healed.Added, lost...)
	}
	if err != nil {
		healed.Warnings = append(healed.Warnings, fmt.Sprintf("temporary mappings are not put back: %v", err))
	}
	return nil
}

// apply makes the kernel match the file, which may have been edited since it was read without the lock.
func (m *Mender) apply(ctx context.Context, healed *Healed) (reconcile.Difference, error) {
	report, err := m.host.Apply(ctx, nil, reconcile.ApplyOptions{})
	if err == nil {
		healed.note(report.Outcomes, report.Warnings)
		healed.Damage = report.Damaged
		healed.Edited = m.seen != nil && !bytes.Equal(report.Content, m.seen)
	}
	return report.Difference, err
}

// keep makes the kernel match the last file that was right, and leaves the one that is wrong for its author to mend.
func (m *Mender) keep(ctx context.Context, healed *Healed) (reconcile.Difference, error) {
	return m.keepWith(ctx, nil, healed)
}

// keepWith is keep, and puts back temporary mappings that were lost.
func (m *Mender) keepWith(ctx context.Context, lost []rules.Mapping, healed *Healed) (reconcile.Difference, error) {
	content := reconcile.Content{Name: m.host.File.Path, Bytes: m.good}
	report, err := m.host.Keep(ctx, content, reconcile.Kept{Lost: lost, Still: m.stillWrong})
	if err == nil {
		healed.note(report.Outcomes, report.Warnings)
		if healed.Damage == "" {
			healed.Damage = report.Damaged
		}
	}
	return report.Difference, err
}

// stillWrong reports whether the file is still the one that was found wrong. While this process waited for the lock, a command
// may have written another.
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

func (h *Healed) note(outcomes []reconcile.Outcome, warnings []string) {
	for _, o := range outcomes {
		if o.Verb == reconcile.Removed {
			h.Removed = append(h.Removed, o.Mapping)
		} else {
			h.Added = append(h.Added, o.Mapping)
		}
	}
	h.Warnings = append(h.Warnings, warnings...)
}
