package ipt

import "portmap/rules"

// Supports returns nil, or an [*rules.UnsupportedError].
func (b *Backend) Supports(m rules.Mapping) error { return supported(&m) }
