package ipt

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"portmap/rules"
)

// ruleParser reads the text of rules. It keeps a buffer.
type ruleParser struct{ words []string }

// parse reads what stands behind `-A CHAIN `. A rule that portmap cannot have made becomes a foreign one.
func (p *ruleParser) parse(text string) rule {
	p.words = appendSplit(p.words[:0], text)
	if r, ok := parseWords(p.words); ok {
		return r
	}
	r := rule{foreign: text}
	if i := slices.Index(p.words, "--comment"); i >= 0 && i+1 < len(p.words) {
		r.comment = p.words[i+1]
	}
	if n := len(p.words); n >= 2 { // a target that is a chain has no options behind it
		switch p.words[n-2] {
		case "-j":
			r.verdict, r.chain = jump, p.words[n-1]
		case "-g":
			r.verdict, r.chain = goTo, p.words[n-1]
		}
	}
	return r
}

func parseWords(words []string) (r rule, ok bool) {
	var matches []string // named by -m
	for len(words) > 0 {
		if to, found := localityAt(words); found && r.to == anywhere {
			r.to = to
			words = words[len(hereWords[to]):]
			continue
		}
		if when, found := occasionAt(words); found && r.when == always {
			r.when = when
			words = words[len(occasionWords[when]):]
			continue
		}
		if refusal, found := refusalAt(words); found && r.verdict == note {
			r.verdict = refusal
			words = words[4:]
			continue
		}
		if uid, found := otherUserAt(words); found && !r.owned {
			r.owned, r.uid = true, uid
			words = words[5:]
			continue
		}
		if s, length := shareIn(words); length > 0 && r.share == (share{}) {
			r.share = s
			words = words[length:]
			continue
		}
		if len(words) > 2 && words[0] == "!" && words[1] == "-d" {
			if !setPrefix(&r.notTo, words[2]) {
				return rule{}, false
			}
			words = words[3:]
			continue
		}
		if form := [...]string{"!", "-i", "lo"}; len(words) > len(form) && slices.Equal(words[:len(form)], form[:]) {
			if r.outside {
				return rule{}, false
			}
			r.outside = true
			words = words[len(form):]
			continue
		}
		if len(words) < 2 {
			return rule{}, false
		}
		option, value := words[0], words[1]
		words = words[2:]
		if option == "-m" {
			if slices.Contains(matches, value) {
				return rule{}, false
			}
			matches = append(matches, value)
		} else if !r.set(option, value) {
			return rule{}, false
		}
	}
	return r, r.asks(matches)
}

func localityAt(words []string) (locality, bool) {
	if words[0] != "-m" {
		return anywhere, false
	}
	for _, to := range [...]locality{hereInVRF, here} {
		// The form of here ends where another addrtype option could follow, which parseWords refuses.
		if form := hereWords[to]; len(words) >= len(form) && slices.Equal(words[:len(form)], form) {
			return to, true
		}
	}
	return anywhere, false
}

func occasionAt(words []string) (occasion, bool) {
	for _, when := range [...]occasion{answering, direct, toOne, toOne6} {
		if form := occasionWords[when]; len(words) >= len(form) && slices.Equal(words[:len(form)], form) {
			return when, true
		}
	}
	return always, false
}

// refusalAt reads `-j REJECT --reject-with HOW`.
func refusalAt(words []string) (verdict, bool) {
	if len(words) < 4 || !slices.Equal(words[:3], []string{"-j", "REJECT", "--reject-with"}) {
		return note, false
	}
	how := slices.Index(rejectWords[:], words[3])
	return verdict(max(how, 0)), how > 0
}

// otherUserAt reads `-m owner ! --uid-owner UID`.
func otherUserAt(words []string) (uid uint32, ok bool) {
	if len(words) < 5 || !slices.Equal(words[:4], []string{"-m", "owner", "!", "--uid-owner"}) {
		return 0, false
	}
	n, err := strconv.ParseUint(words[4], 10, 32)
	return uint32(n), err == nil
}

// asks reports whether the extensions are exactly those that the rule needs: another one asks something more.
func (r *rule) asks(matches []string) bool {
	needed := 0
	for _, n := range [...]struct {
		needed bool
		name   string
	}{
		{r.ports.Last != 0, r.protocol.String()},
		{r.invalid || r.translated || r.original.Last != 0, "conntrack"},
		{r.comment != "", "comment"},
	} {
		if n.needed {
			needed++
			if !slices.Contains(matches, n.name) {
				return false
			}
		}
	}
	return needed == len(matches)
}

// set reads one option. It reports false for one that is not portmap's, or is there twice.
func (r *rule) set(option, value string) bool {
	switch option {
	case "-s":
		return setPrefix(&r.source, value)
	case "-d":
		return setPrefix(&r.destination, value)
	case "-i", "-o":
		return r.setDirection(option == "-o") && setOnce(&r.iface, value)
	case "-p":
		first := r.protocol == 0
		switch value {
		case "tcp":
			r.protocol = rules.TCP
		case "udp":
			r.protocol = rules.UDP
		default:
			return false
		}
		return first
	case "--dport", "--sport":
		return r.setDirection(option == "--sport") && setPorts(&r.ports, value)
	case "--ctstate":
		first := !r.invalid && !r.translated
		r.invalid, r.translated = value == "INVALID", value == "DNAT"
		return (r.invalid || r.translated) && first
	case "--ctorigdstport":
		return setPorts(&r.original, value)
	case "--comment":
		return setOnce(&r.comment, value)
	case "--to-destination":
		first := r.port == 0
		return r.setDestination(value) && first && r.port != 0 && r.verdict == toPort
	case "-j", "-g":
		if r.verdict != note {
			return false
		}
		switch {
		case option == "-g":
			r.verdict, r.chain = goTo, value
		case value == "DROP":
			r.verdict = drop
		case value == "DNAT":
			r.verdict = toPort
		case value == "MASQUERADE":
			r.verdict = masquerade
		default:
			r.verdict, r.chain = jump, value
		}
		return true
	}
	return false
}

func setOnce(s *string, value string) bool {
	first := *s == ""
	*s = value
	return first && value != ""
}

func setPrefix(p *netip.Prefix, value string) bool {
	first := !p.IsValid()
	parsed, err := netip.ParsePrefix(value)
	*p = parsed
	return first && err == nil
}

// setDirection takes an option that is about packets of one direction. A rule of ours has none about the other.
func (r *rule) setDirection(reply bool) bool {
	if r.iface != "" || r.ports.Last != 0 {
		return r.reply == reply
	}
	r.reply = reply
	return true
}

// setDestination takes ":8443", "10.0.0.5:8443" or "[2001:db8::5]:8443".
func (r *rule) setDestination(value string) bool {
	if port, same := strings.CutPrefix(value, ":"); same {
		n, err := strconv.ParseUint(port, 10, 16)
		r.port = uint16(n)
		return err == nil
	}
	to, err := netip.ParseAddrPort(value)
	r.address, r.port = to.Addr(), to.Port()
	return err == nil
}

func setPorts(p *rules.Ports, value string) bool {
	from, to, isRange := strings.Cut(value, ":")
	first, err := strconv.ParseUint(from, 10, 16)
	last, err2 := first, error(nil)
	if isRange {
		last, err2 = strconv.ParseUint(to, 10, 16)
	}
	twice := p.Last != 0
	*p = rules.Ports{First: uint16(first), Last: uint16(last)}
	return err == nil && err2 == nil && !twice && last > 0 && first <= last
}

// appendSplit cuts a line of iptables-save into its words.
func appendSplit(words []string, text string) []string {
	for len(text) > 0 {
		switch end := strings.IndexByte(text, ' '); {
		case end == 0:
			text = text[1:]
		case end < 0 && !strings.ContainsAny(text, `"\`):
			return append(words, text)
		case end > 0 && !strings.ContainsAny(text[:end], `"\`):
			words, text = append(words, text[:end]), text[end:]
		default:
			var word string
			word, text = quotedWord(text)
			words = append(words, word)
		}
	}
	return words
}

// quotedWord reads one word with quotes, and returns the rest.
func quotedWord(text string) (word, rest string) {
	if text[0] == '"' { // most have no backslash
		if end := strings.IndexByte(text[1:], '"') + 1; end > 0 && (end+1 == len(text) || text[end+1] == ' ') &&
			!strings.Contains(text[:end], `\`) {
			return text[1:end], text[end+1:]
		}
	}
	var b strings.Builder
	within := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && within && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case c == '"':
			within = !within
		case c == ' ' && !within:
			return b.String(), text[i:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
