package rules

import "strings"

// Parser reads mappings. The zero Parser knows no service names.
type Parser struct {
	Services Services
	options  []Option
}

// Parse reads one mapping from the words after `portmap add`, by the zero [Parser].
func Parse(words ...string) (Mapping, error) {
	var p Parser
	return p.Parse(words)
}

// Parse reads one mapping from its words: the mapping itself and its options, in any order. The error is an
// [*InvalidError].
func (p *Parser) Parse(words []string) (Mapping, error) {
	if len(words) == 1 && words[0] != "" && words[0][0] != '-' {
		return p.parsePlain(words[0])
	}
	if p.options == nil {
		p.options = Options()
	}
	var m Mapping
	spec, err := p.readWords(&m, words)
	if err == nil {
		err = p.readSpec(&m, spec)
	}
	if err == nil {
		err = m.settle()
	}
	if err != nil {
		if err.Mapping = spec; spec == "" {
			err.Mapping = strings.Join(words, " ")
		}
		return Mapping{}, err
	}
	text := m.appendSpec(nil)
	m.specLen = uint16(len(text))
	m.text = string(m.appendOptions(text, p.options))
	return m, nil
}

// parsePlain reads a mapping without options. It is Parse in short, for files with very many of them: nothing is allocated
// for one that is written in its canonical form.
func (p *Parser) parsePlain(spec string) (Mapping, error) {
	var m Mapping
	err := p.readSpec(&m, spec)
	if err == nil {
		err = m.settle()
	}
	if err != nil {
		err.Mapping = spec
		return Mapping{}, err
	}
	if n := strings.IndexByte(spec, '/'); n > 0 && isNumbers(spec[:n]) && spec[n+1:] == m.protocols.String() {
		m.text, m.specLen = spec, uint16(len(spec)) // ports have no leading zeros: this is the canonical form
		return m, nil
	}
	m.text = string(m.appendSpec(nil))
	m.specLen = uint16(len(m.text))
	return m, nil
}

// isNumbers reports whether s is single ports and colons: no range, no name, no address.
func isNumbers(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && c != ':' {
			return false
		}
	}
	return true
}

// readWords sets the options and returns the one word that is none.
func (p *Parser) readWords(m *Mapping, words []string) (spec string, err *InvalidError) {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") {
			if spec != "" {
				fix := "write one mapping a line, options with two dashes"
				if spec == "add" || spec == "portmap" {
					fix = "a line begins with the mapping: leave out " + spec
				}
				return spec, &InvalidError{Part: word, Why: "a second mapping where one is expected", Fix: fix}
			}
			spec = word
			continue
		}
		flag, value, joined := strings.Cut(word, "=")
		option := p.option(flag)
		switch {
		case option == nil:
			return spec, &InvalidError{Part: flag, Why: "no such option", Fix: "`portmap add --help` lists the options"}
		case option.Argument == "" && joined:
			return spec, &InvalidError{Part: flag, Why: "takes no value", Fix: "write " + flag}
		case option.Argument != "" && !joined:
			if i++; i == len(words) {
				return spec, &InvalidError{Part: flag, Why: "its value is missing", Fix: "write " + flag + " " + option.Argument}
			}
			value = words[i]
		}
		if err := option.set(m, value); err != nil {
			err.Part = strings.TrimSpace(flag + " " + Printable(err.Part))
			return spec, err
		}
	}
	if spec == "" {
		return spec, &InvalidError{Why: "no mapping", Fix: "write LISTEN:TARGET, for example 443:8443"}
	}
	return spec, nil
}

func (p *Parser) option(flag string) *Option {
	for i := range p.options {
		o := &p.options[i]
		if long, ok := strings.CutPrefix(flag, "--"); ok && long == o.Name {
			return o
		}
		if o.Shorthand != "" && flag[1:] == o.Shorthand {
			return o
		}
	}
	return nil
}
