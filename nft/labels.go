package nft

import (
	"strings"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// labels are the comments of mappings.
type labels map[string]bool

func (l labels) note(comment []byte) {
	if !l[string(comment)] {
		l[string(comment)] = true
	}
}

func (l labels) forget(mappings []rules.Mapping) {
	for i := range mappings {
		delete(l, label(&mappings[i]))
	}
}

// mappingsOf returns the mappings that labels stand for. A label that stands for none is left out: Live reports it.
func (k *kernel) mappingsOf(list labels) (mappings []rules.Mapping, err error) {
	r := reading{reader: ruletext.Reader{Users: k.users}}
	for comment := range list {
		text := comment
		if strings.HasPrefix(comment, "~") {
			if r.texts == nil {
				texts, err := k.rules(chainTexts)
				if err != nil {
					return nil, err
				}
				r.joinTexts(texts)
			}
			text = r.texts[comment]
		}
		if m, ok := r.reader.Mapping(text); ok && supported(&m) == nil {
			mappings = append(mappings, m)
		}
	}
	return mappings, nil
}
