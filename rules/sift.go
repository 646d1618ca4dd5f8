package rules

import (
	"net/netip"
	"slices"
)

// Which mappings claim the same packet can be asked pair by pair; of 100,000 that share a port there are too many
// pairs. So mappings are cut into parts of one protocol, one family and one source network, and those that may meet
// stand in one lane. Of two networks that overlap one lies inside the other: each part looks into the lanes of its own
// network and of those around it, and not into those inside, since what is there looks out. A mapping that stays takes
// out the later ones that it meets, so each is met once.

type sieve struct {
	*fitting
	lanes
	networks map[netip.Prefix]int32
	around   []int32    // of each network, the next wider one that is there
	own      [][2]int32 // of each mapping, where its parts begin and end
}

// sift is compare for many mappings.
func (f *fitting) sift() error {
	f.once()
	s := sieve{fitting: f, lanes: newLanes(), networks: map[netip.Prefix]int32{}}
	if err := s.numberAll(); err != nil {
		return err
	}
	if err := s.fill(); err != nil {
		return err
	}
	for at := range f.mappings {
		if !f.stays(at) {
			continue
		}
		if err := s.decide(at); err != nil {
			return err
		}
	}
	return nil
}

// once finds the mappings that are there again.
func (f *fitting) once() {
	seen := make(map[string]int, len(f.mappings))
	for i := range f.mappings {
		if !f.stays(i) {
			continue
		}
		text := f.mappings[i].text
		if first, again := seen[text]; again {
			f.repeat(first, i)
		} else {
			seen[text] = i
		}
	}
}

// numberAll gives numbers to what mappings name.
func (s *sieve) numberAll() error {
	var networks []netip.Prefix
	for i := range s.mappings {
		if err := s.step(); err != nil {
			return err
		}
		r := s.mappings[i].extras
		if r == nil || !s.stays(i) {
			continue
		}
		s.number(r)
		for _, p := range r.sources {
			if _, there := s.networks[p]; !there && p.Bits() > 0 { // a network of all addresses is as good as none
				s.networks[p] = unnamed
				networks = append(networks, p)
			}
		}
	}
	s.nest(networks)
	return nil
}

// nest numbers networks, and finds the one around each: sorted, it stands in front of those inside.
func (s *sieve) nest(networks []netip.Prefix) {
	slices.SortFunc(networks, comparePrefixes)
	s.around = make([]int32, len(networks)+1)
	var open []int32
	for i, p := range networks {
		for len(open) > 0 && !networks[open[len(open)-1]-1].Contains(p.Addr()) {
			open = open[:len(open)-1]
		}
		number := int32(i + 1)
		if len(open) > 0 {
			s.around[number] = open[len(open)-1]
		}
		s.networks[p], open = number, append(open, number)
	}
}

// fill puts the parts of all mappings into their lanes.
func (s *sieve) fill() error {
	s.own = make([][2]int32, len(s.mappings))
	for _, at := range byFirstPort(s.mappings) {
		if err := s.step(); err != nil {
			return err
		}
		if s.stays(int(at)) {
			s.own[at][0] = int32(len(s.parts))
			s.eachKey(&s.mappings[at], func(key laneKey) { s.put(at, key) })
			s.own[at][1] = int32(len(s.parts))
		}
	}
	return s.close(s.fitting)
}

// eachKey goes over the parts of a mapping.
func (s *sieve) eachKey(m *Mapping, do func(laneKey)) {
	sources := m.extra().sources
	key := s.key(m)
	for _, key.protocol = range m.protocols.Each() {
		for _, key.family = range [...]Families{IPv4, IPv6} {
			if !m.families.Has(key.family) {
				continue
			}
			if key.network = unnamed; len(sources) == 0 {
				do(key)
			}
			for _, p := range sources {
				if FamilyOf(p.Addr()) == key.family {
					key.network = s.networks[p]
					do(key)
				}
			}
		}
	}
}

// decide has a mapping stay unless it meets one that stays already, and then takes out the later ones that it meets.
func (s *sieve) decide(at int) error {
	ports := s.mappings[at].ports
	lanes := s.inSight(&s.mappings[at])
	for _, l := range lanes {
		if err := s.step(); err != nil {
			return err
		}
		if found := l.kept.next(ports.First, 0, l.until(ports.Last)); found >= 0 {
			s.meets(s.mappingAt(l, found), at)
			return nil
		}
	}
	for _, p := range s.parts[s.own[at][0]:s.own[at][1]] {
		s.list[p.lane].waiting.set(int(p.at), 0)
		s.list[p.lane].kept.set(int(p.at), ports.Last)
	}
	for _, l := range lanes {
		until := l.until(ports.Last)
		for found := l.waiting.next(ports.First, 0, until); found >= 0; found = l.waiting.next(ports.First, found,
			until) {
			if err := s.step(); err != nil {
				return err
			}
			l.waiting.set(found, 0)
			if other := s.mappingAt(l, found); s.stays(other) {
				s.meets(at, other)
			}
		}
	}
	return nil
}

func (s *sieve) mappingAt(l *lane, at int) int { return int(s.parts[l.parts[at]].mapping) }

// inSight returns the lanes that a mapping looks into.
func (s *sieve) inSight(m *Mapping) (list []*lane) {
	s.eachKey(m, func(key laneKey) {
		for list = s.inView(list, key); key.network != unnamed; list = s.inView(list, key) {
			key.network = s.around[key.network]
		}
	})
	return list
}
