package ipt

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// saved is what a family's table nat holds of ours, as iptables-save printed it.
type saved struct {
	names   []string // of chains, in the order in which they were printed
	chains  map[string][]line
	jumps   map[string][]string // by door: rules there that lead into our root chain
	foreign map[string]bool     // chains named like ours with nothing of ours in them
	led     map[string]string   // by chain of ours: a rule of others, elsewhere than in the doors' jumps, that leads into it
}

// line is a rule in the kernel.
type line struct {
	text    string
	packets uint64
	bytes   uint64
}

// parse reads the output of `iptables-save -c -t nat`.
func parse(output []byte) (*saved, error) {
	s := &saved{chains: map[string][]line{}, jumps: map[string][]string{}, foreign: map[string]bool{}, led: map[string]string{}}
	for len(output) > 0 {
		var text []byte
		text, output, _ = bytes.Cut(output, []byte("\n"))
		switch {
		case bytes.HasPrefix(text, []byte(":PORTMAP")):
			name, _, _ := strings.Cut(string(text[1:]), " ")
			if ownName(name) {
				s.names = append(s.names, name)
				s.chains[name] = nil
			}
		case bytes.HasPrefix(text, []byte("[")):
			if err := s.rule(string(text)); err != nil {
				return nil, err
			}
		case bytes.Contains(text, []byte("is incompatible")):
			return nil, &Error{Why: "the table nat holds rules that iptables cannot read: they were made by nft",
				Fix: "use that: portmap apply --backend nft"}
		}
	}
	for _, name := range s.names {
		if !s.looksOwn(name) {
			s.foreign[name] = true
			delete(s.chains, name)
		}
	}
	s.names = slices.DeleteFunc(s.names, func(name string) bool { return s.foreign[name] })
	return s, nil
}

// rule reads a line such as "[0:0] -A PREROUTING -p tcp ...".
func (s *saved) rule(text string) error {
	counters, rest, found := strings.Cut(text[1:], "] -A ")
	chain, rest, _ := strings.Cut(rest, " ")
	own := s.chains[chain]
	_, declared := s.chains[chain]
	target := targetOf(rest)
	door := target == rootChain && slices.Contains(doors[:], chain)
	if !declared && ownName(target) && !door {
		s.led[target] = chain + " " + rest
	}
	if !declared && !door {
		return nil
	}
	packets, bytes, found2 := strings.Cut(counters, ":")
	p, err1 := strconv.ParseUint(packets, 10, 64)
	b, err2 := strconv.ParseUint(bytes, 10, 64)
	if !found || !found2 || err1 != nil || err2 != nil {
		return fmt.Errorf("iptables-save printed %q", text)
	}
	if declared {
		s.chains[chain] = append(own, line{rest, p, b})
	} else {
		s.jumps[chain] = append(s.jumps[chain], rest)
	}
	return nil
}

// targetOf returns the last word of a rule where that is the chain that it jumps or goes to.
func targetOf(rule string) string {
	if before, target, found := cutLast(" "+rule, " "); found && (strings.HasSuffix(before, " -j") || strings.HasSuffix(before, " -g")) {
		return target
	}
	return ""
}

// looksOwn reports whether a chain with one of our names is ours: it is empty, or has a rule as we write them.
func (s *saved) looksOwn(name string) bool {
	lines := s.chains[name]
	return len(lines) == 0 || slices.ContainsFunc(lines, func(l line) bool {
		_, target, _ := cutLast(l.text, " -g ")
		if _, jumped, ok := cutLast(l.text, " -j "); ok {
			target = jumped
		}
		comment := commentOf(l.text)
		return ownName(target) || strings.HasPrefix(comment, "~") || strings.Contains(comment, ":") && strings.Contains(comment, "/")
	})
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// only returns what is there of some chains.
func (s *saved) only(names []string) state {
	part := state{chains: map[string][]line{}}
	for _, name := range s.names {
		if slices.Contains(names, name) {
			part.names = append(part.names, name)
			part.chains[name] = s.chains[name]
		}
	}
	return part
}

// empty reports whether there is nothing of ours.
func (s *saved) empty() bool { return len(s.chains) == 0 && len(s.jumps) == 0 }

// commentOf returns the comment of a rule, without quotes.
func commentOf(text string) string {
	_, rest, found := strings.Cut(text, "--comment ")
	if !found || rest == "" {
		return ""
	}
	if rest[0] != '"' {
		word, _, _ := strings.Cut(rest, " ")
		return word
	}
	if end := strings.IndexByte(rest[1:], '"'); end >= 0 && !strings.ContainsRune(rest[:end+1], '\\') {
		return rest[1 : end+1]
	}
	if words := split(rest); len(words) > 0 {
		return words[0]
	}
	return ""
}

// split cuts a line of iptables-save into its words.
func split(text string) []string {
	var words []string
	var word strings.Builder
	in, within := false, false // a word, quotes
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && within && i+1 < len(text):
			i++
			word.WriteByte(text[i])
		case c == '"':
			in, within = true, !within
		case c == ' ' && !within:
			if in {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}

// meaning returns a text that is equal for rules that do the same, however a version of iptables writes them: options in
// another order, comments with or without quotes, addresses in other notations.
func meaning(text string) string {
	words := split(text)
	if len(words)%2 != 0 { // each option of ours has one value
		return text
	}
	options := make([]string, 0, len(words)/2)
	for i := 0; i < len(words); i += 2 {
		value := words[i+1]
		if p, err := netip.ParsePrefix(value); err == nil {
			value = p.String()
		}
		options = append(options, words[i]+"\x00"+value)
	}
	slices.Sort(options)
	return strings.Join(options, "\x00")
}

// same reports whether two rules do the same.
func same(a, b string) bool { return a == b || meaning(a) == meaning(b) }
