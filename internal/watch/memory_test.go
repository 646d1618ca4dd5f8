package watch

import (
	"context"
	"slices"
	"sync"

	"portmap/internal/filters"
	"portmap/rules"
	"portmap/rules/facts"
)

// memory is a packet filter that holds mappings and no packets: the least that the table of filters needs.
type memory struct {
	name                     string
	mu                       sync.Mutex
	live                     rules.Live
	listings, reads, changes int // number of calls
}

func (m *memory) Name() string { return m.name }

func (m *memory) Close() error { return nil }

func (m *memory) Supports(mapping rules.Mapping) error { return mapping.Within() }

func (m *memory) Live(context.Context) (rules.Live, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listings++
	return m.live, nil
}

func (m *memory) Temporary(context.Context) ([]rules.Mapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	set, err := m.live.Set()
	return slices.DeleteFunc(set.Mappings(), func(m rules.Mapping) bool { return !m.Temporary() }), err
}

func (m *memory) Apply(_ context.Context, c rules.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	set, err := m.live.Set()
	if c.Reset {
		set = rules.Set{}
	}
	if err == nil {
		set, err = set.Remove(c.Remove...).Add(c.Add...)
	}
	if err != nil {
		return rules.ErrDrift
	}
	m.changes++
	m.live = liveOf(set)
	return nil
}

func liveOf(set rules.Set) (live rules.Live) {
	for _, m := range slices.SortedFunc(slices.Values(set.Mappings()), facts.Compare) {
		live.Mappings = append(live.Mappings, rules.LiveMapping{Mapping: m})
	}
	return live
}

// with returns a table of filters that ends with this one.
func (m *memory) with(kinds ...filters.Kind) []filters.Kind {
	return append(kinds, filters.Kind{
		Name:    m.name,
		Present: func(context.Context) (bool, error) { return len(m.live.Mappings) > 0, nil },
		Try:     func(context.Context) error { return nil },
		Open:    func(context.Context) (*filters.Filter, error) { return &filters.Filter{Backend: m}, nil },
	})
}
