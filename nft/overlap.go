package nft

import (
	"fmt"
	"net/netip"

	"portmap/rules"
)

// The kernel refuses an element whose key is taken. It does not see that a packet matches a mapping in another
// map, or in a rule. Mappings that the caller knows of do not overlap: rules.Set sees to that. Live ones that are in no
// file may. So a small change asks for what is live near its ports. The cost has bounds: it does not grow with
// the number of live mappings. A large change is not checked.
const (
	keysAtMost = 256  // keys that a map is asked for one by one; of more, its first elements are read
	readAtMost = 1000 // elements of one map, or rules, that are read; what lies behind them is not seen
)

// refuseOverlap answers [rules.ErrDrift] where a mapping to be added overlaps a live one that stays.
func (k *kernel) refuseOverlap(change rules.Change) error {
	if len(change.Add) == 0 || len(change.Add) >= verifyFrom {
		return nil
	}
	claims := make([]claim, 0, len(change.Add))
	for i := range change.Add {
		claims = append(claims, claimOf(&change.Add[i]))
	}
	live, _, err := k.near(claims, change.Remove, change.Add)
	if err != nil {
		return err
	}
	for _, l := range live {
		for _, m := range change.Add {
			if overlaps(m, l) {
				return fmt.Errorf("%w (%s is live)", rules.ErrDrift, l)
			}
		}
	}
	return nil
}

// claim is what a mapping takes for itself.
type claim struct {
	address   netip.Addr // zero: every one
	ports     rules.Ports
	protocols rules.Protocols
	families  rules.Families
	named     bool
}

func claimOf(m *rules.Mapping) claim {
	return claim{m.Listen(), m.ListenPorts(), m.Protocols(), m.Families(), m.Name() != ""}
}

// near returns live mappings that may claim some of the same, other than the known ones, and whether these are all.
func (k *kernel) near(claims []claim, known ...[]rules.Mapping) (list []rules.Mapping, all bool, err error) {
	found := labels{}
	all = true
	for _, p := range maps() {
		whole, err := k.elementsNear(p, claims, found)
		if all = all && whole; err != nil {
			return nil, false, err
		}
	}
	whole, err := k.rulesNear(found)
	if all = all && whole; err != nil {
		return nil, false, err
	}
	for _, list := range known {
		found.forget(list)
	}
	list, err = k.mappingsOf(found)
	return list, all, err
}

func overlaps(a, b rules.Mapping) bool {
	if a.Name() != "" && a.Name() == b.Name() {
		return true
	}
	return a.ListenPorts().Overlaps(b.ListenPorts()) && a.SharesClients(b)
}

// elementsNear notes the labels of elements that can overlap one of the claims, and reports whether it saw all of
// these.
func (k *kernel) elementsNear(p portMap, claims []claim, near labels) (whole bool, err error) {
	keys, all := p.keysOf(claims)
	if all || len(keys) > keysAtMost {
		return k.firstElements(p.name, readAtMost, func(e element) { near.note(e.comment) })
	}
	for _, key := range keys {
		e, err := k.elementAt(p.name, key)
		switch {
		case isAbsent(err):
		case err != nil:
			return false, err
		default:
			near.note(e.comment)
		}
	}
	return true, nil
}

// keysOf returns the keys that overlapping elements of the map have; all where those of any address do, or any with the
// same name.
func (p portMap) keysOf(claims []claim) (keys [][]byte, all bool) {
	for _, c := range claims {
		if c.named {
			return nil, true
		}
		if c.families&p.families == 0 {
			continue
		}
		r := keyRange{address: c.address, ports: c.ports}
		switch {
		case p.key.address == 0:
			r.address = netip.Addr{}
		case !r.address.IsValid():
			return nil, true
		}
		families := []rules.Families{0}
		if p.key.family {
			families = c.families.Each()
		}
		for _, r.family = range families {
			for _, r.protocol = range c.protocols.Each() {
				for i := 0; i < r.ports.Count() && len(keys) <= keysAtMost; i++ {
					keys = append(keys, p.key.append(nil, &r, i))
				}
			}
		}
	}
	return keys, false
}

// rulesNear notes the labels of mappings with --source or --interface, and reports whether it saw all of these.
func (k *kernel) rulesNear(near labels) (whole bool, err error) {
	uses, err := k.chainUses(chainMapped)
	if err != nil || uses <= fixedUses(chainMapped) || uses > readAtMost {
		return uses <= readAtMost, err
	}
	list, err := k.rules(chainMapped)
	for _, r := range list {
		near.note([]byte(r.comment))
	}
	return true, err
}

// fixedUses returns how many rules are in a chain without any mapping, together with the jumps that lead to it.
func fixedUses(chain string) (n uint32) {
	for _, list := range fixedRules() {
		for _, r := range list {
			if r.chain == chain {
				n++
			}
			if r.jumpsTo == chain {
				n++
			}
		}
	}
	return n
}
