package ipt

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"portmap/rules"
)

// verdict is what a rule does with a packet that it matches.
type verdict uint8

const (
	note   verdict = iota // nothing: the rule is there for its comment
	jump                  // tries the rules of a chain, and comes back
	goTo                  // tries the rules of a chain, and does not come back
	toPort                // translates the destination to a port of the same address
	drop
)

// locality is what a rule asks of the destination.
type locality uint8

const (
	anywhere  locality = iota
	here               // an address of this host
	hereInVRF          // an address of this host in the VRF of the interface that the packet came by, and in no other
)

const tcp = rules.TCP

// rule is what a rule of iptables does: what it asks of a packet, its comment and its verdict. Rules that are equal do the
// same, however a version of iptables writes them. It can hold the rules that portmap makes, and of others only the text.
type rule struct {
	source, destination netip.Prefix
	iface               string // that the packet came by
	protocol            rules.Protocols
	ports               rules.Ports // the destination's; Last is 0 where any will do
	reply               bool        // iface is the one by which the packet leaves, ports are the source's
	invalid             bool        // connection tracking calls the packet invalid
	to                  locality
	verdict             verdict
	port                uint16 // where toPort sends it
	chain               string // where jump and goTo lead, in the same table
	comment             string
	foreign             string // the text of a rule that portmap cannot have made; all else is zero then
}

// hereWords are what iptables says for localities. The second has the first negated, so that no packet goes through our
// chains twice.
var hereWords = [...][]string{
	here:      {"-m", "addrtype", "--dst-type", "LOCAL"},
	hereInVRF: {"-m", "addrtype", "!", "--dst-type", "LOCAL", "-m", "addrtype", "--dst-type", "LOCAL", "--limit-iface-in"},
}

// backward returns the rule for the answers to the packets of this one, which arrive.
func (r rule) backward() rule {
	r.source, r.destination = r.destination, r.source
	r.reply = r.iface != "" || r.ports.Last != 0
	return r
}

// String writes the rule as iptables-save does behind `-A CHAIN `.
func (r rule) String() string { return string(r.append(nil)) }

func (r *rule) append(b []byte) []byte {
	if r.foreign != "" {
		return append(b, r.foreign...)
	}
	start := len(b)
	option := func(words ...string) {
		for _, w := range words {
			if len(b) > start {
				b = append(b, ' ')
			}
			b = append(b, w...)
		}
	}
	if r.source.IsValid() {
		option("-s ")
		b = r.source.AppendTo(b)
	}
	if r.destination.IsValid() {
		option("-d ")
		b = r.destination.AppendTo(b)
	}
	interfaceFlag, portFlag := "-i", "--dport "
	if r.reply {
		interfaceFlag, portFlag = "-o", "--sport "
	}
	if r.iface != "" {
		option(interfaceFlag, r.iface)
	}
	if r.protocol != 0 {
		option("-p", r.protocol.String())
	}
	if r.ports.Last != 0 {
		option("-m", r.protocol.String(), portFlag)
		b = strconv.AppendUint(b, uint64(r.ports.First), 10)
		if r.ports.Last != r.ports.First {
			b = strconv.AppendUint(append(b, ':'), uint64(r.ports.Last), 10)
		}
	}
	if r.invalid {
		option("-m conntrack --ctstate INVALID")
	}
	option(hereWords[r.to]...)
	if r.comment != "" {
		option("-m comment --comment", quoted(r.comment))
	}
	switch r.verdict {
	case note:
	case jump:
		option("-j", r.chain)
	case goTo:
		option("-g", r.chain)
	case drop:
		option("-j DROP")
	case toPort:
		option("-j DNAT --to-destination :")
		b = strconv.AppendUint(b, uint64(r.port), 10)
	}
	return b
}

// ruleParser reads the text of rules. It keeps a buffer.
type ruleParser struct{ words []string }

// parse reads what stands behind `-A CHAIN `. A rule that portmap cannot have made becomes a foreign one.
func (p *ruleParser) parse(text string) rule {
	p.words = appendSplit(p.words[:0], text)
	if r, ok := parseWords(p.words); ok {
		return r
	}
	return rule{foreign: text}
}

func parseWords(words []string) (r rule, ok bool) {
	var matches []string // named by -m
	for len(words) > 0 {
		if to, found := localityAt(words); found && r.to == anywhere {
			r.to = to
			words = words[len(hereWords[to]):]
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

// asks reports whether the extensions are exactly those that the rule needs: another one asks something more.
func (r *rule) asks(matches []string) bool {
	needed := 0
	for _, n := range [...]struct {
		needed bool
		name   string
	}{{r.ports.Last != 0, r.protocol.String()}, {r.invalid, "conntrack"}, {r.comment != "", "comment"}} {
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
		return r.setDirection(option == "--sport") && r.setPorts(value)
	case "--ctstate":
		first := !r.invalid
		r.invalid = value == "INVALID"
		return r.invalid && first
	case "--comment":
		return setOnce(&r.comment, value)
	case "--to-destination":
		port, ok := strings.CutPrefix(value, ":")
		n, err := strconv.ParseUint(port, 10, 16)
		first := r.port == 0
		r.port = uint16(n)
		return ok && err == nil && first && r.port != 0 && r.verdict == toPort
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

func (r *rule) setPorts(value string) bool {
	from, to, isRange := strings.Cut(value, ":")
	first, err := strconv.ParseUint(from, 10, 16)
	last, err2 := first, error(nil)
	if isRange {
		last, err2 = strconv.ParseUint(to, 10, 16)
	}
	twice := r.ports.Last != 0
	r.ports = rules.Ports{First: uint16(first), Last: uint16(last)}
	return err == nil && err2 == nil && !twice && last > 0 && first <= last
}

// commentOf returns the comment of a rule, whoever made it.
func commentOf(text string) string {
	words := split(text)
	if i := slices.Index(words, "--comment"); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// chainOf returns the chain that a rule leads to, whoever made it; "" where it leads nowhere.
func chainOf(text string) string {
	i := strings.LastIndexByte(text, ' ')
	if before := " " + text[:max(i, 0)]; strings.HasSuffix(before, " -j") || strings.HasSuffix(before, " -g") {
		return text[i+1:]
	}
	return ""
}

// split cuts a line of iptables-save into its words.
func split(text string) []string { return appendSplit(nil, text) }

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
