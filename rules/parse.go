package rules

import (
	"fmt"
	"strings"
)

// MaxText is the length of a mapping with its options, in bytes, as it is written and in canonical form: some 8,000 networks.
// It is what one argument of a command may have (MAX_ARG_STRLEN, execve(2)), and fits into the comments of any backend.
const MaxText = 1<<17 - 1

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
		err = p.readSpec(&m, spec)
	}
	if err == nil {
		err = m.normalize()
	}
	if err != nil {
		if err.Mapping = spec; spec == "" {
			err.Mapping = strings.Join(words, " ")
		}
		return Mapping{}, err
	}
	text := m.appendSpec(nil)
	m.specLen = uint32(len(text))
	m.text = string(m.appendOptions(text, p.options))
	if len(m.text) > MaxText {
		return Mapping{}, tooLong(spec)
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

func tooLong(spec string) *InvalidError {
	return &InvalidError{Mapping: spec, Why: fmt.Sprintf("longer than %d bytes with its options", MaxText),
		Fix: "write several mappings of the same ports, each with a part of the networks"}
}

// parsePlain reads a mapping without options. It is Parse in short, for files with very many of them: nothing is allocated
// for one that is written in its canonical form.
func (p *Parser) parsePlain(spec string) (Mapping, error) {
	var m Mapping
	err := p.readSpec(&m, spec)
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
	m.text = string(m.appendSpec(nil))
	if len(m.text) > MaxText {
		return Mapping{}, tooLong(spec)
	}
	m.specLen = uint32(len(m.text))
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
				return spec, &InvalidError{Part: flag, Why: "its value is missing", Fix: "write " + flag + " " + option.Argument}
			}
			value = words[i]
		}
		if option.Argument != "" && !option.repeatable && given&(1<<at) != 0 {
			return spec, &InvalidError{Part: flag, Why: "given twice", Fix: "write " + flag + " once"}
		}
		given |= 1 << at
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
