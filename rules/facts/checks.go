package facts

import "portmap/rules"

// Resolved refuses mappings with an owner that is not resolved, with a [*rules.InvalidError].
func Resolved(mappings []rules.Mapping) error {
	for i := range mappings {
		m := &mappings[i]
		if m.Owner() == "" {
			continue
		}
		if _, known := m.UID(); !known {
			return &rules.InvalidError{Mapping: m.Spec(), Part: "--owner " + m.Owner(),
				Why: "a user whose uid was not looked up", Fix: "write the uid"}
		}
	}
	return nil
}
