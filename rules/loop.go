package rules

import (
	"fmt"
	"slices"
	"strings"
)

// LoopError says that mappings lead a port back to itself.
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

// maxChecks bounds the search for loops. Only sets in which thousands of mappings lead to the same ports and back, but
// do not meet, come near it.
const maxChecks = 1 << 26

// loops leaves out mappings that lead a port back to itself, such as 443:8443 with 8443:443. The kernel translates a
// packet once, so such a pair would swap two ports rather than spin; nobody who writes it means that.
func (f *fitting) loops() error {
	w := walk{fitting: f}
	if !w.mayLoop() {
		return nil
	}
	w.leadOn()
	if !slices.Contains(w.leads, true) {
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

// toThisHost reports whether packets keep their address, and so can be another mapping's in turn: another host's port,
// or one of a packet whose address has changed, is no listen side of ours.
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

// walk goes from port to port as packets would if they were translated again and again.
type walk struct {
	*fitting
	lanes
	leads  []bool  // of each port, whether one can go on from it without end
	begins []int32 // of each mapping, where its ports begin in known
	known  []knowledge
	trail  []step
	checks int
}

// step is one port of one mapping, with the server that is looked at, the lanes of what may be behind it, and how far
// they were tried.
type step struct {
	mapping int
	port    uint16
	number  int // of the server
	lanes   []*lane
	lane    int
	tried   int
}

// knowledge is what is known of a step.
type knowledge uint8

const (
	unknown knowledge = iota
	onTrail
	harmless // it leads to no loop
)

// mayLoop reports whether some port is a target as well as a listen port, of mappings one behind the other. Of most
// sets none is.
func (w *walk) mayLoop() bool {
	var listened, targeted portSet
	for i := range w.mappings {
		if w.toThisHost(i) {
			listened.add(w.mappings[i].ports)
			for _, ports := range w.mappings[i].LocalTargets() {
				targeted.add(ports)
			}
		}
	}
	return w.eachStep(func(_ int, from, to uint16) bool { return targeted.has(from) && listened.has(to) })
}

// eachStep goes over the ports of all mappings until do is content.
func (w *walk) eachStep(do func(at int, from, to uint16) bool) bool {
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

// leadOn finds the ports from which one can go on without end, whoever's the packets are: it takes away, again and
// again, those from which every step leads to one that is taken away.
func (w *walk) leadOn() {
	onward, begin := make([]int32, 1<<16), make([]int32, 1<<16+1)
	w.eachStep(func(_ int, from, to uint16) bool { onward[from]++; begin[int(to)+1]++; return false })
	for p := range 1 << 16 {
		begin[p+1] += begin[p]
	}
	before, next := make([]uint16, begin[1<<16]), slices.Clone(begin)
	w.eachStep(func(_ int, from, to uint16) bool { before[next[to]] = from; next[to]++; return false })
	var ends []uint16
	w.leads = make([]bool, 1<<16)
	for p := range w.leads {
		if w.leads[p] = onward[p] > 0; !w.leads[p] {
			ends = append(ends, uint16(p))
		}
	}
	for len(ends) > 0 {
		end := int(ends[len(ends)-1])
		ends = ends[:len(ends)-1]
		for _, p := range before[begin[end]:begin[end+1]] {
			if onward[p]--; onward[p] == 0 {
				w.leads[p] = false
				ends = append(ends, p)
			}
		}
	}
}

// index puts the mappings that may be part of a loop into lanes, and makes room for what is known of each step.
func (w *walk) index() error {
	w.lanes, w.begins = newLanes(), make([]int32, len(w.mappings)+1)
	candidates := make([]bool, len(w.mappings))
	w.eachStep(func(at int, from, to uint16) bool {
		candidates[at] = candidates[at] || w.leads[from] && w.leads[to]
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
			w.put(at, w.key(&w.mappings[at]))
		}
	}
	w.known = make([]knowledge, w.begins[len(w.mappings)])
	return w.close(w.fitting)
}

func (w *walk) about(mapping int, port uint16) *knowledge {
	return &w.known[int(w.begins[mapping])+int(port)-int(w.mappings[mapping].ports.First)]
}

// follow goes on from one port of a mapping, depth first, each step once. Two mappings follow each other where some
// packet could meet both.
func (w *walk) follow(mapping int, port uint16) error {
	if w.begins[mapping] == w.begins[mapping+1] || !w.leads[port] || *w.about(mapping, port) != unknown {
		return nil
	}
	for w.push(mapping, port); len(w.trail) > 0; {
		s := &w.trail[len(w.trail)-1]
		next, target, ok := w.next(s)
		if !ok {
			*w.about(s.mapping, s.port) = harmless
			w.trail = w.trail[:len(w.trail)-1]
			continue
		}
		w.checks++
		if err := w.step(); err != nil {
			return err
		}
		switch known := *w.about(next, target); {
		case w.checks > maxChecks:
			w.giveUp()
		case known == harmless || !w.stays(next) || !sharesClients(&w.mappings[s.mapping], &w.mappings[next]):
		case known == onTrail:
			w.cut(next, target)
		default:
			w.push(next, target)
		}
	}
	return nil
}

// next returns a mapping that may be behind a step and was not tried, and the port of it.
func (w *walk) next(s *step) (mapping int, port uint16, ok bool) {
	m := &w.mappings[s.mapping]
	for ; s.number < m.localTargets(); s.number, s.lane = s.number+1, 0 {
		port = m.localTarget(s.number, s.port)
		for w.leads[port] && s.lane < len(s.lanes) {
			l := s.lanes[s.lane]
			if found := l.waiting.next(port, s.tried, l.until(port)); found >= 0 {
				s.tried = found + 1
				return int(w.parts[l.parts[found]].mapping), port, true
			}
			s.lane, s.tried = s.lane+1, 0
		}
	}
	return 0, 0, false
}

func (w *walk) push(mapping int, port uint16) {
	*w.about(mapping, port) = onTrail
	w.trail = append(w.trail, step{mapping: mapping, port: port, lanes: w.inView(nil, w.key(&w.mappings[mapping]))})
}

// cut leaves out the first mapping, in the order of the list, of the loop that the trail ends in, and goes back to
// where it was not met yet.
func (w *walk) cut(mapping int, port uint16) {
	begin := slices.IndexFunc(w.trail, func(s step) bool { return s.mapping == mapping && s.port == port })
	loop := w.trail[begin:]
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
	culprit := loop[first].mapping
	w.leave(culprit, &LoopError{Path: path})
	w.back(slices.IndexFunc(w.trail, func(s step) bool { return s.mapping == culprit }))
}

// back shortens the trail.
func (w *walk) back(length int) {
	for _, s := range w.trail[length:] {
		*w.about(s.mapping, s.port) = unknown
	}
	w.trail = w.trail[:length]
}

// giveUp leaves out the mappings of the trail: that they lead to no loop would take too long to find out.
func (w *walk) giveUp() {
	for _, s := range w.trail {
		m := &w.mappings[s.mapping]
		w.leave(s.mapping,
			&InvalidError{Mapping: m.Spec(), Why: "too many mappings lead to its ports and on from there",
				Fix: "map to ports that no other mapping listens on"})
	}
	w.back(0)
}
