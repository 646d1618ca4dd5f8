package reconcile

import (
	"fmt"
	"slices"

	"portmap/rules"
)

// SelectError says that a selector does not mean exactly one mapping.
type SelectError struct {
	Selector string
	Found    []rules.Mapping // several, or none
	Near     []rules.Mapping // of none: ranges that hold the port
	Names    []string        // of several: a selector for each of them, or none if they are very many
}

func (e *SelectError) Error() string {
	switch {
	case len(e.Found) > 1:
		return fmt.Sprintf("%s: means %d mappings: %s", rules.Printable(e.Selector), len(e.Found), join(e.Found))
	case len(e.Near) > 0:
		return fmt.Sprintf("%s: no such mapping; it is part of %s", rules.Printable(e.Selector), join(e.Near))
	}
	return fmt.Sprintf("%s: no such mapping", rules.Printable(e.Selector))
}

// most is how many mappings a message lists.
const most = 5

func join(mappings []rules.Mapping) string {
	text := ""
	for i, m := range mappings {
		if i == most {
			return text + fmt.Sprintf(", and %d more", len(mappings)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += m.String()
	}
	return text
}

// Select returns the one mapping that a selector means.
func Select(s rules.Set, selector string, services rules.Services) (rules.Mapping, error) {
	found := s.Find(selector, services)
	if len(found) == 1 {
		return found[0], nil
	}
	e := &SelectError{Selector: selector, Found: found}
	if len(found) <= most {
		for _, m := range found {
			e.Names = append(e.Names, selectorOf(s, m, services))
		}
	}
	var port uint16
	if n, err := fmt.Sscanf(selector, "%d", &port); n == 1 && err == nil && len(found) == 0 {
		e.Near = slices.DeleteFunc(s.Mappings(), func(m rules.Mapping) bool { return !m.ListenPorts().Contains(port) })
	}
	return rules.Mapping{}, e
}

// selectorOf returns the shortest text that means one mapping of a Set and no other.
func selectorOf(s rules.Set, m rules.Mapping, services rules.Services) string {
	listen := m.ListenPorts().String() + "/" + m.Protocols().String()
	texts := []string{listen, m.Name(), m.Spec()}
	if addr := m.Listen(); addr.Is4() {
		texts = slices.Insert(texts, 1, addr.String()+":"+listen)
	} else if addr.Is6() {
		texts = slices.Insert(texts, 1, "["+addr.String()+"]:"+listen)
	}
	for _, text := range texts {
		if text != "" && len(s.Find(text, services)) == 1 {
			return text
		}
	}
	return m.String()
}
