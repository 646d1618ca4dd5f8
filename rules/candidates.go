package rules

import (
	"net/netip"
	"slices"
)

// candidateIndex finds, among very many mappings, those that may claim a packet of a given one. Mappings are grouped
// into buckets by the addresses and interfaces they name; a bucket is sorted by port.
type candidateIndex struct {
	listens map[netip.Addr]int32 // a number for each listen address that some mapping names
	ifaces  map[string]int32     // the same for interfaces
	numbers map[bucketKey]int32
	lengths []int32
	parts   []part
	list    []bucket
}

// bucketKey is what the parts in a bucket have in common.
type bucketKey struct {
	protocol               Protocols
	family                 Families
	network, listen, iface int32
}

// Special numbers in a bucketKey.
const (
	unnamed int32 = 0  // the mapping names no network, listen address or interface
	either  int32 = -1 // mappings that name one and mappings that do not
)

// part is a mapping, or a part of one, in a bucket.
type part struct{ mapping, bucket, at int32 }

// bucket is a list of parts, sorted by first port, with two trees over their last ports: one of the parts that are
// still undecided, one of those that stay.
type bucket struct {
	parts           []int32 // indexes into candidateIndex.parts
	firsts          []uint16
	undecided, kept portTree
}

func newCandidateIndex() candidateIndex {
	return candidateIndex{listens: map[netip.Addr]int32{}, ifaces: map[string]int32{}, numbers: map[bucketKey]int32{}}
}

// number assigns numbers to the address and interface that a mapping names. It is called for all mappings before the
// first add.
func (l *candidateIndex) number(r *extras) {
	if r.listen.IsValid() && l.listens[r.listen] == unnamed {
		l.listens[r.listen] = int32(len(l.listens) + 1)
	}
	if r.iface != "" && l.ifaces[r.iface] == unnamed {
		l.ifaces[r.iface] = int32(len(l.ifaces) + 1)
	}
}

// key returns the key of a mapping without networks.
func (l *candidateIndex) key(m *Mapping) bucketKey {
	if m.extras == nil {
		return bucketKey{}
	}
	return bucketKey{listen: l.listens[m.extras.listen], iface: l.ifaces[m.extras.iface]}
}

// add adds a part to the bucket of what it names and to the buckets marked either. Parts are added in the order of
// their first ports.
func (l *candidateIndex) add(at int32, key bucketKey) {
	listens, ifaces := storeNumbers(key.listen, len(l.listens)), storeNumbers(key.iface, len(l.ifaces))
	for _, key.listen = range listens {
		for _, key.iface = range ifaces {
			number, there := l.numbers[key]
			if !there {
				number = int32(len(l.lengths))
				l.numbers[key], l.lengths = number, append(l.lengths, 0)
			}
			l.parts = append(l.parts, part{mapping: at, bucket: number, at: l.lengths[number]})
			l.lengths[number]++
		}
	}
}

// build makes the buckets from the parts that were added.
func (l *candidateIndex) build(f *fitting) error {
	places, firsts := make([]int32, len(l.parts)), make([]uint16, len(l.parts))
	l.list = make([]bucket, len(l.lengths))
	for i, n := range l.lengths {
		l.list[i] = bucket{places[:n:n], firsts[:n:n], newPortTree(int(n)), newPortTree(int(n))}
		places, firsts = places[n:], firsts[n:]
	}
	for i, p := range l.parts {
		if err := f.step(); err != nil {
			return err
		}
		ports := f.mappings[p.mapping].ports
		b := &l.list[p.bucket]
		b.parts[p.at], b.firsts[p.at] = int32(i), ports.First
		b.undecided.set(int(p.at), ports.Last)
	}
	return nil
}

// lookup appends the buckets of all parts that can overlap a part. No part is in two of them.
func (l *candidateIndex) lookup(list []*bucket, key bucketKey) []*bucket {
	listens, ifaces := lookupNumbers(key.listen, len(l.listens)), lookupNumbers(key.iface, len(l.ifaces))
	for _, key.listen = range listens {
		for _, key.iface = range ifaces {
			if number, there := l.numbers[key]; there {
				list = append(list, &l.list[number])
			}
		}
	}
	return list
}

// storeNumbers returns the numbers under which a part is stored. If no mapping names such a thing, one is enough.
func storeNumbers(number int32, named int) []int32 {
	if named == 0 {
		return []int32{unnamed}
	}
	return []int32{number, either}
}

// lookupNumbers returns the numbers under which a part finds those that can overlap it.
func lookupNumbers(number int32, named int) []int32 {
	switch {
	case named == 0:
		return []int32{unnamed}
	case number == unnamed:
		return []int32{either}
	}
	return []int32{number, unnamed}
}

// end returns the index of the first part with a first port above port.
func (b *bucket) end(port uint16) int {
	end, _ := slices.BinarySearchFunc(b.firsts, int(port)+1, func(first uint16, port int) int {
		return int(first) - port
	})
	return end
}

// portTree is a binary tree in an array: the second half holds a row of ports, 0 for none; each element i of the first
// half is the maximum of 2i and 2i+1.
type portTree []uint16

func newPortTree(length int) portTree {
	size := 1
	for size < length {
		size *= 2
	}
	return make(portTree, 2*size)
}

func (t portTree) set(at int, port uint16) {
	i := at + len(t)/2
	t[i] = port
	for i /= 2; i > 0; i /= 2 {
		t[i] = max(t[2*i], t[2*i+1])
	}
}

// next returns the first index in [from, end) with a port of at least port; -1 if there is none.
func (t portTree) next(port uint16, from, end int) int {
	if from >= end {
		return -1
	}
	size := len(t) / 2
	i := from + size
	for t[i] < port { // go to the next subtree on the right
		for i&1 == 1 {
			i /= 2
		}
		if i == 0 {
			return -1
		}
		i++
	}
	for i < size {
		if i *= 2; t[i] < port {
			i++
		}
	}
	if i -= size; i >= end {
		return -1
	}
	return i
}
