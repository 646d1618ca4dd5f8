package nft

import (
	"errors"
	"iter"

	"portmap/rules"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// transaction is what the kernel does at once, or not at all. Its parts are done in this order.
type transaction struct {
	deleteTable bool
	createTable bool              // with all that is there without any mapping
	unused      map[string]keySet // by name: the elements of shared sets that go
	remove      []rules.Mapping   // whose elements go
	rules       []kernelRule      // that go
	add         []rules.Mapping

	deleteTableAgain bool // nothing stays: to find out whether the kernel can do it
}

// commit sends a transaction. It returns how many objects it put into each place.
func (k *kernel) commit(t transaction) (objects map[string]int, err error) {
	q := queue{k.conn, map[string]int{}}
	if err := q.transaction(t); err != nil {
		// Nothing of it may be left for the next transaction.
		if fresh := k.reconnect(); fresh != nil {
			return nil, errors.Join(err, fresh)
		}
		return nil, err
	}
	k.socket.limitWait()
	err = k.conn.Flush()
	if err != nil && !errors.As(err, new(unix.Errno)) {
		// It came from google/nftables, which does not forget an error of its own.
		return nil, errors.Join(err, k.reconnect())
	}
	return q.objects, err
}

// queue is the messages of one transaction, and how many objects they put into each place.
type queue struct {
	*nftables.Conn
	objects map[string]int
}

func (q queue) transaction(t transaction) error {
	if t.deleteTable {
		q.DelTable(table())
	}
	if t.createTable {
		if err := q.createTable(); err != nil {
			return err
		}
	}
	if err := q.remove(t); err != nil {
		return err
	}
	if err := q.add(t.add); err != nil {
		return err
	}
	if t.deleteTableAgain {
		q.DelTable(table())
	}
	return nil
}

// createTable makes the table, which must not exist.
func (q queue) createTable() error {
	q.CreateTable(table())
	list := places()
	for i := range list {
		if p := &list[i]; p.kind == isChain {
			q.AddChain(p.chain())
		} else if p.kind == isChains {
			continue
		} else if err := q.AddSet(p.set(), nil); err != nil {
			return err
		}
	}
	for _, c := range chains() {
		if err := q.addRules(c.fixed()); err != nil {
			return err
		}
	}
	return nil
}

func (q queue) remove(t transaction) error {
	if len(t.remove)+len(t.unused) == 0 {
		return nil
	}
	for _, p := range sets() {
		elements := t.unused[p.name].elements()
		if !p.shared {
			elements = p.elementsOf(t.remove)
		}
		if _, err := inMessages(p.set(), elements, q.SetDeleteElements); err != nil {
			return err
		}
	}
	for _, r := range t.rules {
		err := q.DelRule(&nftables.Rule{
			Table: table(), Chain: &nftables.Chain{Name: r.chain, Table: table()}, Handle: r.handle,
		})
		if err != nil {
			return err
		}
	}
	for _, name := range spreadChains(t.remove) {
		q.DelChain(ownChain(name))
	}
	return nil
}

// ownChain is the chain of a mapping.
func ownChain(name string) *nftables.Chain { return &nftables.Chain{Name: name, Table: table()} }

func (q queue) add(mappings []rules.Mapping) error {
	if len(mappings) == 0 {
		return nil
	}
	for _, name := range spreadChains(mappings) { // before the elements that lead there
		q.AddChain(ownChain(name))
	}
	for _, p := range sets() {
		n, err := inMessages(p.set(), p.elementsOf(mappings), q.SetAddElements)
		if err != nil {
			return err
		}
		q.objects[p.name] += n
	}
	for _, c := range withRules() {
		if err := q.addRules(c.rulesOf(mappings)); err != nil {
			return err
		}
	}
	return nil
}

func (q queue) addRules(list []*rule) error {
	for _, r := range list {
		for _, s := range r.sets {
			if err := q.AddSet(s.set, s.elements); err != nil {
				return err
			}
			s.lookup.SetID, s.lookup.SetName = s.set.ID, s.set.Name
		}
		q.AddRule(&nftables.Rule{
			Table:    table(),
			Chain:    &nftables.Chain{Name: r.chain, Table: table()},
			Exprs:    r.exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
		})
		q.objects[chainKind(r.chain)]++
	}
	return nil
}

// rulesOf returns the live rules of mappings, to be deleted by their handles. The error is ENOENT if one is missing, or
// if the chain of a mapping has others.
func (k *kernel) rulesOf(mappings []rules.Mapping) (found []kernelRule, err error) {
	for _, p := range withRules() {
		byChain := map[string][]*rule{}
		for _, r := range p.rulesOf(mappings) {
			byChain[r.chain] = append(byChain[r.chain], r)
		}
		for chain, want := range byChain {
			there, err := k.rules(chain)
			if err != nil {
				return nil, err
			}
			mine := ofComments(there, want)
			if len(mine) < len(want) || p.kind == isChains && len(mine) < len(there) {
				return nil, unix.ENOENT
			}
			found = append(found, mine...)
		}
	}
	return found, nil
}

// ofComments returns as many rules of each comment as are wanted, at most.
func ofComments(there []kernelRule, wanted []*rule) (found []kernelRule) {
	want := map[string]int{}
	for _, r := range wanted {
		want[r.comment]++
	}
	for _, r := range there {
		if want[r.comment] > 0 {
			want[r.comment]--
			found = append(found, r)
		}
	}
	return found
}

// maxMessage is how many bytes of elements go into one message, with room for its other attributes: a netlink
// attribute's length has 16 bits, and google/nftables v0.3.0 lets it overflow without an error.
const maxMessage = 60_000

// inMessages sends elements in messages that are cut by their size on the wire. It returns how many elements there
// were.
func inMessages(
	set *nftables.Set, elements iter.Seq[nftables.SetElement], send func(*nftables.Set, []nftables.SetElement) error,
) (count int, err error) {
	var message []nftables.SetElement
	size := 0
	for e := range elements {
		n := sizeOf(&e)
		if size+n > maxMessage {
			if err := send(set, message); err != nil {
				return count, err
			}
			message, size = message[:0], 0
		}
		message, size = append(message, e), size+n
		count++
	}
	if len(message) == 0 {
		return count, nil
	}
	return count, send(set, message)
}

// sizeOf returns how many bytes an element takes in a message: nested attributes for the element, its key, its
// value or verdict and its comment, each padded to four bytes.
func sizeOf(e *nftables.SetElement) int {
	const header = unix.SizeofNlAttr
	size := header + 2*header + nlaAlign(len(e.Key)) + 2*header + nlaAlign(len(e.Val))
	if e.VerdictData != nil { // in place of the value
		size += 2*header + 4 + nlaAlign(len(e.VerdictData.Chain)+1)
	}
	if e.Comment != "" {
		size += header + nlaAlign(2+len(e.Comment)+1)
	}
	return size
}
