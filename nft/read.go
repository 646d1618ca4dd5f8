package nft

import (
	"context"
	"time"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// live reads the table.
func (k *kernel) live(ctx context.Context) (rules.Live, error) {
	return k.settled(ctx, func() (rules.Live, error) { return k.readTable(ctx, newReading(k.users), k.allElements) })
}

// settled reads the table once, or until it is what it seems to be. What looks damaged is read again before it is
// believed, for two reasons. Lists of different chains and maps belong together only if no rule changed between them.
// And a map that has just grown is spread over a larger hash table in the background (lib/rhashtable.c): a list read
// meanwhile has some elements twice and others not at all.
func (k *kernel) settled(ctx context.Context, read func() (rules.Live, error)) (live rules.Live, err error) {
	pause := 5 * time.Millisecond
	for looks, times := 0, 0; looks < 6 && times < interruptions; times++ {
		before, err := k.generation()
		if err != nil {
			return rules.Live{}, err
		}
		if live, err = read(); err != nil {
			return rules.Live{}, err
		}
		after, err := k.generation()
		if err != nil || after == before && live.Damaged == "" {
			return live, err
		}
		if after == before {
			looks++
		}
		select {
		case <-ctx.Done():
			return rules.Live{}, ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
	return live, nil
}

// readTable reads the rules first, whose texts say what labels mean, then the maps, which name the mappings, then the
// sets.
func (k *kernel) readTable(ctx context.Context, r *reading, elementsOf elementReader) (rules.Live, error) {
	s, err := k.survey()
	if err != nil || !s.info.there {
		return rules.Live{}, err
	}
	r.table(s)
	if err := r.compareRules(s.rules, k.finder(s.sets)); err != nil {
		return rules.Live{}, kernelError(err)
	}
	for _, kind := range [...]kind{isMap, isSet} {
		for i := range r.places {
			p := &r.places[i]
			if p.kind != kind {
				continue
			}
			if err := ctx.Err(); err != nil {
				return rules.Live{}, err
			}
			found, err := elementsOf(p)
			if err != nil && !isAbsent(err) { // that it is absent was said already
				return rules.Live{}, kernelError(err)
			}
			if kind == isMap {
				r.elements(i, found)
			} else {
				r.keys(i, found)
			}
		}
	}
	return r.live(), nil
}

// elementReader reads the elements of a map or set.
type elementReader func(*place) ([]element, error)

func (k *kernel) allElements(p *place) ([]element, error) { return k.elementsOf(p.name) }

// finder returns the sets in which rules look something up. It reads the contents of a rule's own set when they are
// asked for.
func (k *kernel) finder(list []kernelSet) setFinder {
	byName := make(map[string]kernelSet, len(list))
	for _, s := range list {
		byName[s.name] = s
	}
	return func(name string) (setContent, error) {
		s := byName[name]
		content := setContent{
			keyLen: s.keyLen, dataLen: s.dataLen,
			interval: s.flags&unix.NFT_SET_INTERVAL != 0, isMap: s.flags&unix.NFT_SET_MAP != 0,
		}
		if s.flags&unix.NFT_SET_ANONYMOUS == 0 {
			content.name = name
			return content, nil
		}
		var err error
		content.elements, err = k.elementsOf(name)
		return content, err
	}
}
