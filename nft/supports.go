package nft

import "portmap/rules"

// Supports returns nil, or an [*rules.UnsupportedError].
func (b *Backend) Supports(m rules.Mapping) error { return supports(&m) }

// supports lists nothing: nft maps to another port on this host, and does no part of the language beyond that yet.
func supports(m *rules.Mapping) error { return m.Within() }
