package rules

import (
	"strings"
)

// Parser reads mappings. It is not for use by several goroutines at once.
type Parser struct {
	Services Services // nil: only numbers
	Users    Users    // resolves owners; nil leaves names as they are, see [Mapping.Resolve]
	options  []Option
	words    []string
}

// Parse reads one mapping by the zero [Parser].
func Parse(text string) (Mapping, error) {
	var p Parser
	return p.Parse(text)
}

// Parse reads one mapping, its options, in any order, and a comment that begins with '#'. The error is an
// [*InvalidError].
func (p *Parser) Parse(text string) (Mapping, error) {
	p.words = appendWords(p.words[:0], text)
	return p.ParseWords(p.words)
}

// ParseWords is [Parser.Parse] for the arguments of a command.
func (p *Parser) ParseWords(words []string) (Mapping, error) {
	if length(words) > MaxText {
		return Mapping{}, tooLong(words[0])
	}
	if len(words) == 1 && words[0] != "" && words[0][0] != '-' {
		return p.parsePlain(words[0])
	}
	if p.options == nil {
		p.options = Options()
	}
	var m Mapping
	spec, err := p.readWords(&m, words)
	if err == nil {
		err = m.readSpec(spec, p.Services)
	}
	if err == nil {
		err = m.normalize()
	}
	if err == nil && p.Users != nil {
		err = m.resolve(p.Users)
	}
	if err != nil {
		if err.Mapping = spec; spec == "" {
			err.Mapping = strings.Join(words, " ")
		}
		return Mapping{}, err
	}
	if err := m.write(p.options); err != nil {
		return Mapping{}, err
	}
	return m, nil
}

// length returns that of words with a space between them.
func length(words []string) int {
	n := len(words) - 1
	for _, w := range words {
		n += len(w)
	}
	return n
}

// parsePlain reads a mapping without options. It is Parse in short, for files with very many of them: nothing is
// allocated for one that is written in its canonical form.
func (p *Parser) parsePlain(spec string) (Mapping, error) {
	var m Mapping
	err := m.readSpec(spec, p.Services)
	if err == nil {
		err = m.normalize()
	}
	if err != nil {
		err.Mapping = spec
		return Mapping{}, err
	}
	if n := strings.IndexByte(spec, '/'); n > 0 && isNumbers(spec[:n]) && spec[n+1:] == m.protocols.String() {
		m.text, m.specLen = spec, uint32(len(spec)) // ports have no leading zeros: this is the canonical form
		return m, nil
	}
	text := m.appendSpec(nil)
	if err := m.setText(text, len(text)); err != nil {
		return Mapping{}, err
	}
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
	var given uint64 // the options, by their places
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
		at := p.option(flag)
		if at < 0 {
			return spec, &InvalidError{Part: flag, Why: "no such option", Fix: "`portmap add --help` lists the options"}
		}
		option := &p.options[at]
		switch {
		case option.Argument == "" && joined:
			return spec, &InvalidError{Part: flag, Why: "takes no value", Fix: "write " + flag}
		case option.Argument != "" && !joined:
			if i++; i == len(words) {
				return spec, &InvalidError{Part: flag, Why: "its value is missing",
					Fix: "write " + flag + " " + option.Argument}
			}
			value = words[i]
		}
		if option.Argument != "" && !option.repeatable && given&(1<<at) != 0 {
			return spec, &InvalidError{Part: flag, Why: "given twice", Fix: "write " + flag + " once"}
		}
		given |= 1 << at
		if err := option.apply(m, flag, value); err != nil {
			return spec, err
		}
	}
	if spec == "" {
		return spec, &InvalidError{Why: "no mapping", Fix: "write LISTEN:TARGET, for example 443:8443"}
	}
	return spec, nil
}

// option returns the place of an option, or -1.
func (p *Parser) option(flag string) int {
	for i := range p.options {
		o := &p.options[i]
		if long, ok := strings.CutPrefix(flag, "--"); ok && long == o.Name {
			return i
		}
		if o.Shorthand != "" && flag[1:] == o.Shorthand {
			return i
		}
	}
	return -1
}
