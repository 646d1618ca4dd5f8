package rules

// loops looks for mappings that lead a port back to itself, such as 443:8443 with 8443:443. The kernel translates a packet
// once, so such a pair would swap two ports rather than spin; nobody who writes it means that.
func loops(mappings []Mapping) error {
	w := walk{mappings: mappings}
	for i := range mappings {
		if m := &mappings[i]; m.toThisHost() {
			w.listened.add(m.ports)
			w.targeted.add(m.target)
		}
	}
	for i := range mappings {
		m := &mappings[i]
		if !m.toThisHost() {
			continue
		}
		for p := int(m.ports.First); p <= int(m.ports.Last); p++ {
			// Each port of a loop is a target as well. That leaves few to follow, mostly none.
			if w.targeted.has(uint16(p)) && w.listened.has(m.TargetOf(uint16(p))) && w.follow(step{i, uint16(p)}) {
				return &LoopError{Path: w.path()}
			}
		}
	}
	return nil
}

// toThisHost reports whether packets keep their address: another host's port, or one of a packet whose address has changed, is
// no listen side of ours.
func (m *Mapping) toThisHost() bool { return m.rare == nil || len(m.rare.targets) == 0 }

// portSet is a set of ports.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(ports Ports) {
	for p := int(ports.First); p <= int(ports.Last); p++ {
		s[p/64] |= 1 << (p % 64)
	}
}

func (s *portSet) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }

// step is one port of one mapping.
type step struct {
	mapping int
	port    uint16
}

type walk struct {
	mappings           []Mapping
	listened, targeted portSet
	byPort             map[uint16][]int
	done               map[step]bool
	trail              []step
	onTrail            map[step]bool
}

// follow goes from step to step as packets would if they were translated again and again, depth first, each step once.
// Two mappings follow each other where some packet could meet both.
func (w *walk) follow(s step) bool {
	if w.byPort == nil {
		w.index()
	}
	if w.onTrail[s] {
		w.trail = append(w.trail, s)
		return true
	}
	if w.done[s] {
		return false
	}
	w.done[s], w.onTrail[s] = true, true
	w.trail = append(w.trail, s)
	m := &w.mappings[s.mapping]
	target := m.TargetOf(s.port)
	for _, i := range w.byPort[target] {
		if next := &w.mappings[i]; meet(m, next) && w.follow(step{i, target}) {
			return true
		}
	}
	w.trail = w.trail[:len(w.trail)-1]
	delete(w.onTrail, s)
	return false
}

// index finds the mappings of each port that is a target of another.
func (w *walk) index() {
	w.byPort, w.done, w.onTrail = map[uint16][]int{}, map[step]bool{}, map[step]bool{}
	for i := range w.mappings {
		m := &w.mappings[i]
		if !m.toThisHost() {
			continue
		}
		for p := int(m.ports.First); p <= int(m.ports.Last); p++ {
			if w.targeted.has(uint16(p)) {
				w.byPort[uint16(p)] = append(w.byPort[uint16(p)], i)
			}
		}
	}
}

// path returns the mappings of the loop alone: the trail from where its last step was first met.
func (w *walk) path() []Mapping {
	last := w.trail[len(w.trail)-1]
	var path []Mapping
	for _, s := range w.trail {
		if len(path) > 0 || s == last {
			path = append(path, w.mappings[s.mapping])
		}
	}
	return path
}

// meet reports whether a packet that a has translated could be one of b's, its port aside.
func meet(a, b *Mapping) bool {
	any := Ports{1, 65535}
	x, y := *a, *b
	x.ports, y.ports = any, any
	return overlap(&x, &y)
}
