package reconcile

import (
	"context"
	"errors"

	"portmap/internal/store"
	"portmap/rules"
)

// Kept is what Keep makes live beside a content, and when.
type Kept struct {
	Lost []rules.Mapping // temporary mappings to put back; those that do not go with the content stay away

	// Still is asked under the lock whether the file is still not to be applied; if not, nothing is done.
	Still func() bool
}

// Keep makes the kernel match a content in place of the file's, and leaves the file as it is. A content without a mapping
// removes none; the lines that are left out of it are not told again. A file whose place is refused is not locked: nobody else can change it by a command either.
func (h *Host) Keep(ctx context.Context, content Content, k Kept) (Report, error) {
	kernel, err := h.Run.Lock(ctx, h.File.LockTimeout)
	if err != nil {
		return Report{}, err
	}
	defer kernel.Close()
	lock, err := h.File.Lock(ctx)
	switch {
	case err == nil:
		defer lock.Close()
	case !errors.As(err, new(*store.RefusedError)):
		return Report{}, err
	}
	if !k.Still() {
		return Report{}, nil
	}
	d, err := h.difference(ctx, content)
	if err != nil || d.removesAll() {
		return Report{Difference: d}, err
	}
	before := d.aim
	d.aim = unite(before, k.Lost)
	d.Change.Add = append(d.Change.Add, rules.Minus(d.aim.Mappings(), before.Mappings())...)
	if d.Change.Empty() {
		return Report{Difference: d}, nil
	}
	h.recordFile(content.Bytes)
	p := plan{aim: d.aim, change: d.Change, asked: d.asked(d.aim)}
	done, err := h.toKernel(ctx, p)
	if err != nil {
		return Report{Difference: d}, err
	}
	return Report{
		Outcomes: outcomesOf(d.Change), Damaged: d.Damaged, Difference: d, Warnings: h.applied(ctx, p, done),
	}, nil
}
