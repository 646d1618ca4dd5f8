package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// verifyFrom is how many mappings a change adds for their arrival to be verified.
const verifyFrom = 1000

// apply does a change of mappings that are supported.
func (k *kernel) apply(ctx context.Context, change rules.Change) error {
	var objects map[string]int
	t, err := k.plan(change)
	if err == nil {
		objects, err = k.commit(t)
		err = drift(err)
	}
	ctx = context.WithoutCancel(ctx) // what was sent is seen through to its end
	freshTable := t.deleteTable || t.createTable
	switch {
	case inDoubt(err):
		return k.settleDoubt(ctx, change, err)
	case err != nil || len(change.Add) < verifyFrom:
		return err
	case freshTable && k.hasExactly(objects):
		return nil
	}
	return k.verify(ctx, change)
}

// plan returns the transaction of a change. It looks whose table it is before anything is changed.
func (k *kernel) plan(change rules.Change) (transaction, error) {
	info, err := k.table()
	switch {
	case err != nil:
		return transaction{}, err
	case info.owner != 0:
		return transaction{}, &OwnedError{info.owner}
	case change.Reset:
		if err := k.refuseForeign(info); err != nil {
			return transaction{}, err
		}
		return transaction{deleteTable: info.there, createTable: len(change.Add) > 0, add: change.Add}, nil
	case info.there:
		t := transaction{remove: change.Remove, add: change.Add}
		if err = k.refuseOverlap(change); err == nil {
			t.unused, err = k.unused(change)
		}
		if err == nil {
			t.rules, err = k.rulesOf(change.Remove)
		}
		return t, drift(err)
	case len(change.Remove) > 0:
		return transaction{}, fmt.Errorf("%w (nf_tables: %w)", rules.ErrDrift, unix.ENOENT)
	}
	return transaction{createTable: true, add: change.Add}, nil
}

// refuseForeign refuses to delete a table that holds something of others.
func (k *kernel) refuseForeign(info tableInfo) error {
	if !info.there {
		return nil
	}
	s, err := k.survey()
	if err != nil {
		return err
	}
	r := newReading(k.users)
	r.table(s)
	return foreignError(r.foreign)
}

// settleDoubt finds out what became of a change whose answer was lost.
func (k *kernel) settleDoubt(ctx context.Context, change rules.Change, cause error) error {
	if err := k.reconnect(); err != nil { // late answers to this change must not be taken for those to the next
		return errors.Join(cause, err)
	}
	live, err := k.live(ctx)
	switch {
	case err != nil:
		// The cause is not wrapped: of an error that is ENOBUFS the command says that nothing was changed.
		return fmt.Errorf("nf_tables: %s; and what became of the change cannot be read: %w", cause.Error(), err)
	case done(change, live):
		return nil
	}
	return fmt.Errorf("nf_tables: the kernel did not take the change: %w", cause)
}

// hasExactly reports whether the places have as many objects as were put into an empty table. It is quicker than
// reading them. If the answer is no, a closer look is needed.
func (k *kernel) hasExactly(objects map[string]int) bool {
	byChain := map[string]int{}
	list, err := k.rules("")
	if err != nil {
		return false
	}
	for _, r := range list {
		byChain[chainKind(r.chain)]++
	}
	for _, p := range places() {
		n := byChain[p.name]
		if p.kind < isChain {
			err = k.elements(p.name, func() { n = 0 }, func([]byte) { n++ })
		}
		if err != nil || n != objects[p.name] {
			return false
		}
	}
	return true
}

// verify makes sure that a large change arrived whole, and takes it back if it did not.
func (k *kernel) verify(ctx context.Context, change rules.Change) error {
	var live rules.Live
	for range 3 { // see live on maps that have just grown
		var err error
		if live, err = k.live(ctx); err != nil {
			return k.takeBack(change, err)
		}
		if done(change, live) {
			return nil
		}
	}
	if _, err := k.commit(transaction{deleteTable: true, createTable: true, add: before(change, live)}); err != nil {
		return fmt.Errorf("the change arrived in part, and could not be taken back: %w", kernelError(err))
	}
	return errors.New("nf_tables: the change arrived in part; it was taken back")
}

// takeBack undoes a change that was made but cannot be read back.
func (k *kernel) takeBack(change rules.Change, cause error) error {
	t, err := k.plan(change.Inverse())
	if err == nil {
		_, err = k.commit(t)
	}
	if err = drift(err); err != nil {
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
