package reconcile

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"

	"portmap/internal/conf"
	"portmap/internal/finding"
	"portmap/rules"
)

// Read is a file as it was read, for [Host.Repair].
type Read struct {
	Content []byte
	Info    os.FileInfo // of before it was read; nil if there is no file
}

// ReadFile reads the saved file.
func (h *Host) ReadFile() (Read, error) {
	info, _ := os.Stat(h.File.Path) // an error shows in the next line
	content, err := h.File.Read()
	return Read{content, info}, err
}

// Same reports whether a file was not written between two times.
func Same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// RepairOptions is what a process that stays knows, for [Host.Repair].
type RepairOptions struct {
	Read Read // the file

	// Seen is the content at the last look, nil for none. Good is the last one that could be applied.
	Seen, Good []byte

	// Temporary mappings were live at the last look. Those that were lost together with others are put back with them;
	// one that is gone alone was removed.
	Temporary []rules.Mapping

	// Keep makes the kernel match Good in place of the file's content, and leaves the file as it is: its content is not
	// to be applied. A Good without a mapping removes none. StillWrong is asked under the lock whether the file is
	// still not to be applied; if not, nothing is done.
	Keep       bool
	StillWrong func() bool
}

// Repaired is what Repair did.
type Repaired struct {
	Report
	Saved     int             // mappings of the content
	Temporary []rules.Mapping // that are to be live now
	Edited    bool            // the content is another one than the one that was seen
}

// Repair makes the kernel match the file. It looks without the lock first, because mostly there is nothing to do, and
// must not hold up others then. A file that was written meanwhile is read again under the lock.
func (h *Host) Repair(ctx context.Context, g RepairOptions) (Repaired, error) {
	content := Content{h.File.Path, g.Read.Content}
	if g.Keep {
		content.Bytes = g.Good
	}
	text, err := h.parseAll(ctx, content)
	if err != nil {
		return Repaired{}, err
	}
	d, err := h.differenceOf(ctx, content.Name, text)
	if err != nil {
		return Repaired{}, err
	}
	if d.Change.Empty() && !switchedOff(d.desired) {
		return Repaired{Report: Report{Content: content.Bytes}, Saved: text.Set().Len(), Temporary: d.temporary,
			Edited: g.edited()}, nil
	}
	return h.repairLocked(ctx, g, content, text, d.temporary)
}

func (g *RepairOptions) edited() bool { return g.Seen != nil && !bytes.Equal(g.Read.Content, g.Seen) }

// repairLocked is the second half of Repair. Temporary mappings that were live when it began are not lost either.
func (h *Host) repairLocked(ctx context.Context, g RepairOptions, content Content, text conf.Text,
	temporary []rules.Mapping) (Repaired, error) {
	lock, err := h.lockForRepair(ctx, g.Keep)
	if err != nil {
		return Repaired{}, err
	}
	defer lock.Close()
	if g.Keep {
		if !g.StillWrong() {
			return Repaired{Saved: text.Set().Len(), Temporary: temporary}, nil
		}
	} else if now, _ := os.Stat(h.File.Path); !Same(now, g.Read.Info) {
		if g.Read, err = h.ReadFile(); err != nil {
			return Repaired{}, err
		}
		content.Bytes = g.Read.Content
		if text, err = h.parseAll(ctx, content); err != nil {
			return Repaired{}, err
		}
	}
	d, err := h.differenceOf(ctx, content.Name, text)
	if err != nil {
		return Repaired{}, err
	}
	repaired := Repaired{Saved: text.Set().Len(), Temporary: d.temporary, Edited: g.edited()}
	repaired.Content = content.Bytes
	switch {
	case d.Change.Empty() && !switchedOff(d.desired): // another command was at work: what it removed is not lost
		return repaired, nil
	case g.Keep && d.removesAll():
		return repaired, nil
	case !g.Keep:
		saved := content.Bytes
		if g.Read.Info == nil { // there is no file
			saved = nil
		}
		if err := h.refuseEmpty(ctx, d, content, saved, lock.interrupted()); err != nil {
			return Repaired{}, err
		}
	}
	before := text.Set()
	if g.Keep {
		before = d.desired
	}
	asked := d.asked(before)
	known := append(rules.Minus(g.Temporary, temporary), temporary...)
	if err := h.putBack(ctx, &repaired, &d, g, rules.Minus(known, d.temporary)); err != nil {
		return Repaired{}, err
	}
	repaired.Outcomes, repaired.Damaged, repaired.Total = outcomesOf(d.Change), d.Damaged, d.desired.Len()
	h.recordFile(content.Bytes)
	p := plan{from: d.from, desired: d.desired, change: d.Change, asked: asked, lenient: true}
	if !g.Keep {
		p.content = conf.SetBackend(content.Bytes, h.Choice)
		p.save = !bytes.Equal(p.content, content.Bytes)
	}
	warnings, err := h.commitRepair(ctx, lock, p, g.Keep)
	if !g.Keep {
		warnings = slices.Concat(d.leftOut, warnings)
	}
	repaired.Warnings = append(warnings, repaired.Warnings...)
	return repaired, err
}

// commitRepair is commit; a file that is kept as it is has no part in it.
func (h *Host) commitRepair(ctx context.Context, lock *locks, p plan, keep bool) ([]finding.Finding, error) {
	if !keep {
		_, warnings, err := h.commit(ctx, lock, p)
		return warnings, err
	}
	var done rules.Change
	var warnings []finding.Finding
	if err := carryOut(ctx, h.withSwitches(p, h.kernelSteps(p, &done), &warnings)); err != nil {
		return nil, err
	}
	return append(warnings, h.applied(ctx, p, done)...), nil
}

// putBack adds to a difference the temporary mappings that went with others. If they do not go with what is to be live,
// that stands.
func (h *Host) putBack(ctx context.Context, repaired *Repaired, d *Difference, g RepairOptions,
	lost []rules.Mapping) error {
	if len(lost) == 0 {
		return nil
	}
	why, err := h.witness(ctx, *d, repaired.Edited, g.Good)
	if err != nil {
		return err
	}
	switch why {
	case stillThere:
		return nil
	case noWitness:
		repaired.lost("temporary mappings are gone, and it cannot be known who took them: %s", join(lost))
		return nil
	}
	with, err := d.desired.Add(lost...)
	if err != nil {
		repaired.lost("temporary mappings are not put back: %v", err)
		with = unite(d.desired, lost)
	}
	d.Change.Add = append(d.Change.Add, rules.Minus(with.Mappings(), d.desired.Mappings())...)
	d.desired = with
	repaired.Temporary = append(repaired.Temporary, lost...) // also those that cannot be now
	return nil
}

// lost warns of temporary mappings that are not live any more.
func (h *Repaired) lost(format string, args ...any) {
	h.Warnings = append(h.Warnings, finding.Finding{ID: finding.TemporaryLost, Text: fmt.Sprintf(format, args...)})
}

// witness is the reason why temporary mappings are gone.
type witness int

const (
	noWitness    witness = iota // no mapping was to stay: it cannot be known
	stillThere                  // a mapping that was to stay did: they were removed
	goneWithThem                // a mapping that was to stay went: everything was flushed
)

// witness finds out, from what the difference has to put back, whether more than temporary mappings were taken away.
// After an edit, only a mapping that the file had before and still has is a witness.
func (h *Host) witness(ctx context.Context, d Difference, edited bool, good []byte) (witness, error) {
	if !edited || d.Damaged != "" {
		return goneWithThem, nil
	}
	text, _, err := h.reader().ParseGood(ctx, good)
	if err != nil {
		return noWitness, err
	}
	before := text.Set().Mappings()
	if len(rules.Minus(d.Change.Add, before)) < len(d.Change.Add) {
		return goneWithThem, nil
	}
	if len(before) > len(rules.Minus(before, d.desired.Mappings())) {
		return stillThere, nil
	}
	return noWitness, nil
}
