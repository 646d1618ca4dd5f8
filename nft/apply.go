package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// recountFrom is how many mappings a change adds for their arrival to be counted afterwards.
const recountFrom = 1000

// Apply does the whole change in one transaction, or nothing. It makes the table when it is missing, and a
// Reset that adds nothing removes it. Errors: a [*rules.UnsupportedError] before the kernel is asked,
// [rules.ErrDrift] where the change does not fit what is there, else the kernel's errno.
func (b *Backend) Apply(ctx context.Context, change rules.Change) error {
	add, err := encode(change.Add)
	if err != nil {
		return err
	}
	remove, err := encode(change.Remove)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	alone, err := b.send(change, remove, add)
	ctx = context.WithoutCancel(ctx) // what was sent is seen through to its end
	switch {
	case inDoubt(err):
		return b.settleDoubt(ctx, change, err)
	case err != nil || len(change.Add) < recountFrom:
		return err
	case alone && b.counts(add):
		return nil
	}
	return b.recount(ctx, change)
}

// send looks whose table it is before it changes anything. It reports whether the table now holds what the
// change adds and nothing else.
func (b *Backend) send(change rules.Change, remove, add objects) (alone bool, err error) {
	info, err := b.table()
	switch {
	case err != nil:
		return false, err
	case info.owner != 0:
		return false, &OwnedError{info.owner}
	case change.Reset:
		return true, b.sendReset(info.there, add, len(change.Add) > 0)
	case info.there:
		if err := b.refuseOverlap(change); err != nil {
			return false, drift(err)
		}
		unused, err := b.unused(change)
		if err != nil {
			return false, drift(err)
		}
		return false, drift(b.sendElements(remove, unused, add))
	case len(change.Remove) > 0:
		return false, fmt.Errorf("%w (nf_tables: %w)", rules.ErrDrift, unix.ENOENT)
	}
	return true, drift(b.queue(b.addSkeleton, func() error { return b.addObjects(add) }))
}

// sendReset deletes the table where it is there, and makes it anew where something is to be in it. A table that
// holds something of others is not deleted.
func (b *Backend) sendReset(there bool, add objects, anew bool) error {
	var steps []func() error
	if there {
		s, err := b.survey()
		if err != nil {
			return err
		}
		r := newReading()
		r.table(s)
		if err := foreignError(r.foreign); err != nil {
			return err
		}
		steps = append(steps, b.removeTable)
	}
	if anew {
		steps = append(steps, b.addSkeleton, func() error { return b.addObjects(add) })
	}
	return drift(b.queue(steps...))
}

func (b *Backend) removeTable() error {
	b.conn.DelTable(table())
	return nil
}

func (b *Backend) sendElements(remove objects, unused *portSet, add objects) error {
	return b.queue(
		func() error { return b.deleteElements(remove, unused) },
		func() error { return b.deleteRules(remove) },
		func() error { return b.addObjects(add) })
}

// queue runs the steps and sends what they queued. After an error in one of them nothing of it may be left over for the
// next transaction, so the connection is made anew.
func (b *Backend) queue(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			if fresh := b.reconnect(); fresh != nil {
				return errors.Join(err, fresh)
			}
			return err
		}
	}
	err := b.flush()
	if err != nil && !errors.As(err, new(unix.Errno)) {
		// It came from google/nftables, which does not forget an error of its own.
		return errors.Join(err, b.reconnect())
	}
	return err
}

// drift turns the kernel's ways to say "that is not what is here" into [rules.ErrDrift].
func drift(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w (%w)", rules.ErrDrift, kernelError(err))
	}
	return kernelError(err)
}

// kernelError names the subsystem, and of an error a message keeps the first: the others follow from it.
func kernelError(err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		return nil
	case inDoubt(err):
		return err
	case errors.As(err, &errno):
		return fmt.Errorf("nf_tables: %w", errno)
	}
	return fmt.Errorf("nf_tables: %w", err)
}

// settleDoubt finds out what became of a change whose answer was lost.
func (b *Backend) settleDoubt(ctx context.Context, change rules.Change, cause error) error {
	if err := b.reconnect(); err != nil { // late answers to this change must not be taken for those to the next
		return errors.Join(cause, err)
	}
	live, err := b.Live(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w; and what became of the change cannot be read: %w", cause, err)
	case done(change, live):
		return nil
	}
	return fmt.Errorf("nf_tables: the kernel did not take the change: %w", cause)
}

// counts reports whether the maps have as many elements as were sent to an empty table. It is quicker than
// reading them; a false no costs a closer look.
func (b *Backend) counts(sent objects) bool {
	for at, p := range maps() {
		want, tcp := 0, 0
		for _, m := range sent.mapped[at] {
			want += elementCount(m)
			if m.Protocols().Has(rules.TCP) {
				tcp += m.ListenPorts().Count()
			}
		}
		if !b.holds(p.name, want) || !b.holds(p.tcpSet().Name, tcp) {
			return false
		}
	}
	if !b.holds(targetsName, sent.target.count()) {
		return false
	}
	list, err := b.rules("")
	return err == nil && len(list) == len(skeleton())+len(sent.rules)+len(sent.texts)
}

// holds reports whether a set or map has so many elements.
func (b *Backend) holds(set string, want int) bool {
	n := 0
	err := b.elements(set, func() { n = 0 }, func([]byte) { n++ })
	return err == nil && n == want
}

// recount makes sure that a large change arrived whole, and takes it back if it did not.
func (b *Backend) recount(ctx context.Context, change rules.Change) error {
	var live rules.Live
	for range 3 { // see Live on maps that have just grown
		var err error
		if live, err = b.Live(ctx); err != nil {
			return b.takeBack(change, err)
		}
		if done(change, live) {
			return nil
		}
	}
	add, err := encode(before(change, live))
	if err == nil {
		err = b.queue(b.removeTable, b.addSkeleton, func() error { return b.addObjects(add) })
	}
	if err != nil {
		return fmt.Errorf("the change arrived in part, and could not be taken back: %w", kernelError(err))
	}
	return errors.New("nf_tables: the change arrived in part; it was taken back")
}

// takeBack undoes a change that was made but cannot be read back.
func (b *Backend) takeBack(change rules.Change, cause error) error {
	undo := change.Inverse()
	remove, _ := encode(undo.Remove) // both were encoded before
	add, _ := encode(undo.Add)
	if _, err := b.send(undo, remove, add); err != nil {
		return fmt.Errorf("the change was made, and can neither be read back (%w) nor taken back: %w", cause, err)
	}
	return fmt.Errorf("the change cannot be read back, and was taken back: %w", cause)
}

// before returns what was live before a change that arrived in part.
func before(change rules.Change, live rules.Live) []rules.Mapping {
	if change.Reset {
		return change.Remove
	}
	added := make(map[string]bool, len(change.Add))
	for i := range change.Add {
		added[change.Add[i].String()] = true
	}
	was := slices.Clone(change.Remove)
	for i := range live.Mappings {
		if m := live.Mappings[i].Mapping; !added[m.String()] {
			was = append(was, m)
		}
	}
	return was
}

// done reports whether the kernel holds what the change was to bring, and nothing of what it was to take away.
func done(change rules.Change, live rules.Live) bool {
	there := make(map[string]bool, len(live.Mappings))
	for i := range live.Mappings {
		there[live.Mappings[i].String()] = true
	}
	for i := range change.Add {
		if !there[change.Add[i].String()] {
			return false
		}
		delete(there, change.Add[i].String())
	}
	if change.Reset {
		return len(there) == 0 && live.Damaged == ""
	}
	for i := range change.Remove {
		if there[change.Remove[i].String()] {
			return false
		}
	}
	return true
}
