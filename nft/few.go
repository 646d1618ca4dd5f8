package nft

import (
	"context"
	"slices"

	"portmap/rules"
)

// lookUpAtMost is how many keys are looked up one by one. To read some thousand elements takes no longer.
const lookUpAtMost = 1000

// LookFor returns what [Backend.Live] says of some mappings. It looks their elements up, and does not read those of all
// others. It returns false if they have too many, or if others are live on the same ports; Live can tell then.
func (b *Backend) LookFor(ctx context.Context, mappings []rules.Mapping) (live rules.Live, tells bool, err error) {
	if there, err := b.Present(); err != nil || !there {
		return rules.Live{}, err == nil, err
	}
	if alone, err := b.alone(mappings); err != nil || !alone {
		return rules.Live{}, false, err
	}
	only := make(map[string]bool, len(mappings))
	for _, m := range mappings {
		only[m.String()] = true
	}
	live, err = b.settled(ctx, func() (rules.Live, error) {
		r := newReading(b.users)
		r.only = only
		return b.readTable(ctx, r, func(p *place) ([]element, error) { return b.lookUp(p, mappings) })
	})
	return live, err == nil, err
}

// alone reports whether mappings have few elements, and no other one is live on their ports, by whichever protocol and
// address.
func (k *kernel) alone(mappings []rules.Mapping) (bool, error) {
	keys := 0
	var buffer []keyRange
	var claims []claim
	for i := range mappings {
		for _, p := range sets() {
			keys += p.count(&mappings[i], &buffer)
		}
		claims = append(claims, claim{ports: mappings[i].ListenPorts(), protocols: rules.TCP | rules.UDP,
			families: rules.BothFamilies})
	}
	if keys > lookUpAtMost {
		return false, nil
	}
	others, all, err := k.near(claims, mappings)
	return err == nil && all && !slices.ContainsFunc(others, func(live rules.Mapping) bool {
		return slices.ContainsFunc(mappings, func(m rules.Mapping) bool {
			return m.ListenPorts().Overlaps(live.ListenPorts())
		})
	}), err
}

// lookUp returns the elements that mappings have in a map or set, as far as they are there.
func (k *kernel) lookUp(p *place, mappings []rules.Mapping) (found []element, err error) {
	p.eachRange(mappings, func(r keyRange) {
		for i := range r.ports.Count() {
			if err != nil {
				return
			}
			var e element
			switch e, err = k.elementAt(p.name, p.key.append(nil, &r, i)); {
			case err == nil:
				found = append(found, e)
			case isAbsent(err):
				err = nil
			}
		}
	})
	return found, err
}
