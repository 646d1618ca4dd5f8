package rules

import (
	"fmt"
	"slices"
	"strings"
)

// LoopError says that mappings, followed one after another, form a loop.
type LoopError struct{ Path []Mapping }

func (e *LoopError) Error() string {
	way := make([]string, 0, len(e.Path))
	for _, m := range e.Path {
		way = append(way, m.Spec())
	}
	if len(way) > 4 {
		way = append(way[:2:2], fmt.Sprintf("%d more", len(way)-3), way[len(way)-1])
	}
	return fmt.Sprintf("%s: leads back to itself through %s", e.Path[0].Spec(), strings.Join(way[1:], ", "))
}

// maxChecks bounds the search for loops. Only thousands of mappings that lead to the same ports and back, and do not
// overlap, come near it.
const maxChecks = 1 << 26

// loops leaves out mappings that lead a port back to itself, such as 443:8443 with 8443:443. The kernel translates a
// packet once, so such a pair would swap two ports, which is surely a mistake.
func (f *fitting) loops() error {
	w := loopSearch{fitting: f}
	if !w.mayLoop() {
		return nil
	}
	w.findEndless()
	if !slices.Contains(w.endless, true) {
		return nil
	}
	if err := w.index(); err != nil {
		return err
	}
	for i := range f.mappings {
		if err := f.step(); err != nil {
			return err
		}
		if !f.toThisHost(i) {
			continue
		}
		ports := f.mappings[i].ports
		for p := int(ports.First); p <= int(ports.Last) && f.stays(i); p++ {
			if err := w.follow(i, uint16(p)); err != nil {
				return err
			}
		}
		if f.enough() {
			return nil
		}
	}
	return nil
}

// toThisHost reports whether a mapping stays and keeps the address of its packets. Only then can another mapping follow
// it.
func (f *fitting) toThisHost(at int) bool {
	return f.mappings[at].localTargets() > 0 && f.stays(at)
}

// portSet is a set of ports.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(ports Ports) {
	for p := int(ports.First); p <= int(ports.Last); p++ {
		s[p/64] |= 1 << (p % 64)
	}
}

func (s *portSet) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }

// loopSearch is a depth-first search for loops. It goes from listen port to target port, as a packet would that is
// translated again and again.
type loopSearch struct {
	*fitting
	candidateIndex
	endless []bool  // for each port, whether a path from it can go on without end
	begins  []int32 // for each mapping, where its ports begin in states
	states  []hopState
	stack   []hop
	checks  int
}

// hop is one port of one mapping, with the number of the present target. Its buckets hold the mappings that may follow
// it; bucket and tried say how far they were searched.
type hop struct {
	mapping int
	port    uint16
	number  int
	buckets []*bucket
	bucket  int
	tried   int
}

// hopState is what the search knows stateOf a hop.
type hopState uint8

const (
	unvisited hopState = iota
	onStack
	loopFree
)

// mayLoop reports whether some port is a listen port and a target of mappings that could be part of a loop. In most
// sets there is none.
func (w *loopSearch) mayLoop() bool {
	var listened, targeted portSet
	for i := range w.mappings {
		if w.toThisHost(i) {
			listened.add(w.mappings[i].ports)
			for _, t := range w.mappings[i].servers() {
				if !t.Addr.IsValid() {
					targeted.add(t.Ports)
				}
			}
		}
	}
	return w.eachHop(func(_ int, from, to uint16) bool { return targeted.has(from) && listened.has(to) })
}

// eachHop calls do for each port of each mapping until do returns true.
func (w *loopSearch) eachHop(do func(at int, from, to uint16) bool) bool {
	for i := range w.mappings {
		if !w.toThisHost(i) {
			continue
		}
		m := &w.mappings[i]
		for number := range m.localTargets() {
			for p := int(m.ports.First); p <= int(m.ports.Last); p++ {
				if do(i, uint16(p), m.localTarget(number, uint16(p))) {
					return true
				}
			}
		}
	}
	return false
}

// findEndless finds the ports from which a path can go on without end, whatever its packets are. It removes ports
// without a hop, then those whose hops all lead to removed ports, until none is left to remove.
func (w *loopSearch) findEndless() {
	onward, begin := make([]int32, 1<<16), make([]int32, 1<<16+1)
	w.eachHop(func(_ int, from, to uint16) bool { onward[from]++; begin[int(to)+1]++; return false })
	for p := range 1 << 16 {
		begin[p+1] += begin[p]
	}
	before, next := make([]uint16, begin[1<<16]), slices.Clone(begin)
	w.eachHop(func(_ int, from, to uint16) bool { before[next[to]] = from; next[to]++; return false })
	var ends []uint16
	w.endless = make([]bool, 1<<16)
	for p := range w.endless {
		if w.endless[p] = onward[p] > 0; !w.endless[p] {
			ends = append(ends, uint16(p))
		}
	}
	for len(ends) > 0 {
		end := int(ends[len(ends)-1])
		ends = ends[:len(ends)-1]
		for _, p := range before[begin[end]:begin[end+1]] {
			if onward[p]--; onward[p] == 0 {
				w.endless[p] = false
				ends = append(ends, p)
			}
		}
	}
}

// index adds the mappings that may be part of a loop to the candidateIndex, and allocates a state for each hop.
func (w *loopSearch) index() error {
	w.candidateIndex, w.begins = newCandidateIndex(), make([]int32, len(w.mappings)+1)
	candidates := make([]bool, len(w.mappings))
	w.eachHop(func(at int, from, to uint16) bool {
		candidates[at] = candidates[at] || w.endless[from] && w.endless[to]
		return false
	})
	for i := range w.mappings {
		m := &w.mappings[i]
		if w.begins[i+1] = w.begins[i]; candidates[i] {
			w.begins[i+1] += int32(m.ports.Count())
			if m.extras != nil {
				w.number(m.extras)
			}
		}
	}
	for _, at := range byFirstPort(w.mappings) {
		if candidates[at] {
			w.add(at, w.key(&w.mappings[at]))
		}
	}
	w.states = make([]hopState, w.begins[len(w.mappings)])
	return w.build(w.fitting)
}

func (w *loopSearch) stateOf(mapping int, port uint16) *hopState {
	return &w.states[int(w.begins[mapping])+int(port)-int(w.mappings[mapping].ports.First)]
}

// follow searches from one port of a mapping, depth first, each hop once. One mapping can follow another if some packet
// could match both.
func (w *loopSearch) follow(mapping int, port uint16) error {
	if w.begins[mapping] == w.begins[mapping+1] || !w.endless[port] || *w.stateOf(mapping, port) != unvisited {
		return nil
	}
	for w.push(mapping, port); len(w.stack) > 0; {
		s := &w.stack[len(w.stack)-1]
		next, target, ok := w.next(s)
		if !ok {
			*w.stateOf(s.mapping, s.port) = loopFree
			w.stack = w.stack[:len(w.stack)-1]
			continue
		}
		w.checks++
		if err := w.step(); err != nil {
			return err
		}
		switch state := *w.stateOf(next, target); {
		case w.checks > maxChecks:
			w.giveUp()
		case state == loopFree || !w.stays(next) || !sharesClients(&w.mappings[s.mapping], &w.mappings[next]):
		case state == onStack:
			w.breakLoop(next, target)
		default:
			w.push(next, target)
		}
	}
	return nil
}

// next returns a mapping that may follow a hop and was not tried yet, and its port.
func (w *loopSearch) next(s *hop) (mapping int, port uint16, ok bool) {
	m := &w.mappings[s.mapping]
	for ; s.number < m.localTargets(); s.number, s.bucket = s.number+1, 0 {
		port = m.localTarget(s.number, s.port)
		for w.endless[port] && s.bucket < len(s.buckets) {
			b := s.buckets[s.bucket]
			if found := b.undecided.next(port, s.tried, b.end(port)); found >= 0 {
				s.tried = found + 1
				return int(w.parts[b.parts[found]].mapping), port, true
			}
			s.bucket, s.tried = s.bucket+1, 0
		}
	}
	return 0, 0, false
}

func (w *loopSearch) push(mapping int, port uint16) {
	*w.stateOf(mapping, port) = onStack
	w.stack = append(w.stack, hop{mapping: mapping, port: port, buckets: w.lookup(nil, w.key(&w.mappings[mapping]))})
}

// breakLoop leaves out one mapping of the loop at the end of the stack: the first in the order of the list. It then
// goes back to before that mapping.
func (w *loopSearch) breakLoop(mapping int, port uint16) {
	begin := slices.IndexFunc(w.stack, func(s hop) bool { return s.mapping == mapping && s.port == port })
	loop := w.stack[begin:]
	first := 0
	for i, s := range loop {
		if s.mapping < loop[first].mapping {
			first = i
		}
	}
	path := make([]Mapping, 0, len(loop)+1)
	for i := range len(loop) + 1 {
		path = append(path, w.mappings[loop[(first+i)%len(loop)].mapping])
	}
	w.checks += len(path)
	excluded := loop[first].mapping
	w.leave(excluded, &LoopError{Path: path})
	w.shorten(slices.IndexFunc(w.stack, func(s hop) bool { return s.mapping == excluded }))
}

// shorten cuts the stack.
func (w *loopSearch) shorten(length int) {
	for _, s := range w.stack[length:] {
		*w.stateOf(s.mapping, s.port) = unvisited
	}
	w.stack = w.stack[:length]
}

// giveUp leaves out the mappings on the stack. To find out whether they are part of a loop would take too long.
func (w *loopSearch) giveUp() {
	for _, s := range w.stack {
		m := &w.mappings[s.mapping]
		w.leave(s.mapping,
			&InvalidError{Mapping: m.Spec(), Why: "too many mappings lead to its ports and on from there",
				Fix: "map to ports that no other mapping listens on"})
	}
	w.shorten(0)
}
