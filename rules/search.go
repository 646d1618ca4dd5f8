package rules

import (
	"net/netip"
	"slices"
)

// conflictSearch finds the mappings that claim the same packet. Comparing all pairs is too slow when 100,000 mappings
// share a port. So each mapping is cut into parts of one protocol, one family and one source network, and parts that
// may overlap share a bucket. Two networks that overlap are nested. A part therefore searches the buckets of its own
// network and of the wider ones; the parts of narrower networks find it by themselves. A mapping that stays removes the
// later ones that overlap it, so each is found once.
type conflictSearch struct {
	*fitting
	candidateIndex
	networks map[netip.Prefix]int32
	wider    []int32    // for each network, the next wider one
	own      [][2]int32 // for each mapping, where its parts begin and end
}

// search does what compare does, for many mappings.
func (f *fitting) search() error {
	f.findRepeats()
	s := conflictSearch{fitting: f, candidateIndex: newCandidateIndex(), networks: map[netip.Prefix]int32{}}
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

// findRepeats finds the mappings that occur a second time.
func (f *fitting) findRepeats() {
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

// numberAll numbers the addresses, interfaces and networks that mappings name.
func (s *conflictSearch) numberAll() error {
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
			if _, there := s.networks[p]; !there && p.Bits() > 0 { // a network of all addresses restricts nothing
				s.networks[p] = unnamed
				networks = append(networks, p)
			}
		}
	}
	s.nestNetworks(networks)
	return nil
}

// nestNetworks numbers networks, and finds the next wider one of each: when sorted, a network comes before those inside
// it.
func (s *conflictSearch) nestNetworks(networks []netip.Prefix) {
	slices.SortFunc(networks, comparePrefixes)
	s.wider = make([]int32, len(networks)+1)
	var open []int32
	for i, p := range networks {
		for len(open) > 0 && !networks[open[len(open)-1]-1].Contains(p.Addr()) {
			open = open[:len(open)-1]
		}
		number := int32(i + 1)
		if len(open) > 0 {
			s.wider[number] = open[len(open)-1]
		}
		s.networks[p], open = number, append(open, number)
	}
}

// fill adds the parts of all mappings to the index.
func (s *conflictSearch) fill() error {
	s.own = make([][2]int32, len(s.mappings))
	for _, at := range byFirstPort(s.mappings) {
		if err := s.step(); err != nil {
			return err
		}
		if s.stays(int(at)) {
			s.own[at][0] = int32(len(s.parts))
			s.eachKey(&s.mappings[at], func(key bucketKey) { s.add(at, key) })
			s.own[at][1] = int32(len(s.parts))
		}
	}
	return s.build(s.fitting)
}

// eachKey calls do for each part of a mapping.
func (s *conflictSearch) eachKey(m *Mapping, do func(bucketKey)) {
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

// decide keeps a mapping unless it overlaps one that is kept already. If it is kept, the later ones that overlap it are
// left out.
func (s *conflictSearch) decide(at int) error {
	ports := s.mappings[at].ports
	buckets := s.candidates(&s.mappings[at])
	for _, b := range buckets {
		if err := s.step(); err != nil {
			return err
		}
		if found := b.kept.next(ports.First, 0, b.end(ports.Last)); found >= 0 {
			s.meets(s.mappingAt(b, found), at)
			return nil
		}
	}
	for _, p := range s.parts[s.own[at][0]:s.own[at][1]] {
		s.list[p.bucket].undecided.set(int(p.at), 0)
		s.list[p.bucket].kept.set(int(p.at), ports.Last)
	}
	for _, b := range buckets {
		end := b.end(ports.Last)
		for found := b.undecided.next(ports.First, 0, end); found >= 0; found = b.undecided.next(ports.First, found,
			end) {
			if err := s.step(); err != nil {
				return err
			}
			b.undecided.set(found, 0)
			if other := s.mappingAt(b, found); s.stays(other) {
				s.meets(at, other)
			}
		}
	}
	return nil
}

func (s *conflictSearch) mappingAt(b *bucket, at int) int { return int(s.parts[b.parts[at]].mapping) }

// candidates returns the buckets to search for mappings that overlap m.
func (s *conflictSearch) candidates(m *Mapping) (list []*bucket) {
	s.eachKey(m, func(key bucketKey) {
		for list = s.lookup(list, key); key.network != unnamed; list = s.lookup(list, key) {
			key.network = s.wider[key.network]
		}
	})
	return list
}
