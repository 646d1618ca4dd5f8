package rules

import (
	"net/netip"
	"slices"
)

// lanes finds, among very many mappings, those that may meet one: by what they name, and in order of their ports.
type lanes struct {
	listens map[netip.Addr]int32 // numbers of the listen addresses and interfaces that are named
	ifaces  map[string]int32
	numbers map[laneKey]int32
	lengths []int32
	parts   []part
	list    []lane
}

// laneKey is what the parts of a lane have in common.
type laneKey struct {
	protocol               Protocols
	family                 Families
	network, listen, iface int32
}

// The numbers of what has none.
const (
	unnamed int32 = 0  // mappings that name no network, listen address or interface
	either  int32 = -1 // those that name one and those that do not
)

// part is a mapping, or a part of one, in a lane.
type part struct{ mapping, lane, at int32 }

// lane is a run of parts, in the order of their first ports, with two trees over their last ports: of those that wait
// for their turn, and of those that stay.
type lane struct {
	parts         []int32 // places in lanes.parts
	firsts        []uint16
	waiting, kept portTree
}

func newLanes() lanes {
	return lanes{listens: map[netip.Addr]int32{}, ifaces: map[string]int32{}, numbers: map[laneKey]int32{}}
}

// number gives numbers to what a mapping names. All of them get theirs before the first is put into a lane.
func (l *lanes) number(r *extras) {
	if r.listen.IsValid() && l.listens[r.listen] == unnamed {
		l.listens[r.listen] = int32(len(l.listens) + 1)
	}
	if r.iface != "" && l.ifaces[r.iface] == unnamed {
		l.ifaces[r.iface] = int32(len(l.ifaces) + 1)
	}
}

// key returns the key of a mapping without networks.
func (l *lanes) key(m *Mapping) laneKey {
	if m.extras == nil {
		return laneKey{}
	}
	return laneKey{listen: l.listens[m.extras.listen], iface: l.ifaces[m.extras.iface]}
}

// put puts a part into the lane of what it names, and into those of all that name something else. Parts are put in the
// order of their first ports.
func (l *lanes) put(at int32, key laneKey) {
	listens, ifaces := homes(key.listen, len(l.listens)), homes(key.iface, len(l.ifaces))
	for _, key.listen = range listens {
		for _, key.iface = range ifaces {
			number, there := l.numbers[key]
			if !there {
				number = int32(len(l.lengths))
				l.numbers[key], l.lengths = number, append(l.lengths, 0)
			}
			l.parts = append(l.parts, part{mapping: at, lane: number, at: l.lengths[number]})
			l.lengths[number]++
		}
	}
}

// close makes the lanes of what was put in.
func (l *lanes) close(f *fitting) error {
	places, firsts := make([]int32, len(l.parts)), make([]uint16, len(l.parts))
	l.list = make([]lane, len(l.lengths))
	for i, n := range l.lengths {
		l.list[i] = lane{places[:n:n], firsts[:n:n], newPortTree(int(n)), newPortTree(int(n))}
		places, firsts = places[n:], firsts[n:]
	}
	for i, p := range l.parts {
		if err := f.step(); err != nil {
			return err
		}
		ports := f.mappings[p.mapping].ports
		lane := &l.list[p.lane]
		lane.parts[p.at], lane.firsts[p.at] = int32(i), ports.First
		lane.waiting.set(int(p.at), ports.Last)
	}
	return nil
}

// inView appends the lanes of all that can meet a part. None is in two of them.
func (l *lanes) inView(list []*lane, key laneKey) []*lane {
	listens, ifaces := views(key.listen, len(l.listens)), views(key.iface, len(l.ifaces))
	for _, key.listen = range listens {
		for _, key.iface = range ifaces {
			if number, there := l.numbers[key]; there {
				list = append(list, &l.list[number])
			}
		}
	}
	return list
}

// homes returns the numbers under which a part is found, views those under which it finds what can meet it. Where no
// mapping names such a thing, one is enough.
func homes(number int32, named int) []int32 {
	if named == 0 {
		return []int32{unnamed}
	}
	return []int32{number, either}
}

func views(number int32, named int) []int32 {
	switch {
	case named == 0:
		return []int32{unnamed}
	case number == unnamed:
		return []int32{either}
	}
	return []int32{number, unnamed}
}

// until returns where the parts begin whose ports are all above a port.
func (l *lane) until(port uint16) int {
	until, _ := slices.BinarySearchFunc(l.firsts, int(port)+1, func(first uint16, port int) int {
		return int(first) - port
	})
	return until
}

// portTree is a row of ports, 0 where there is none, behind the highest port of each half of it, each quarter, and so
// on.
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

// next returns the first place in [from, until) whose port is at least port; -1 where there is none.
func (t portTree) next(port uint16, from, until int) int {
	if from >= until {
		return -1
	}
	size := len(t) / 2
	i := from + size
	for t[i] < port { // on to the part to the right, or, from the end of a larger one, to the right of that
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
	if i -= size; i >= until {
		return -1
	}
	return i
}
