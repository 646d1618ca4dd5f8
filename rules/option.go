package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Option is an option of a mapping, which is a flag of `portmap add`, too.
type Option struct {
	Name      string // without dashes
	Value     string // what a mapping has, in canonical form; empty in [Options], and for a switch
	Shorthand string // one letter or digit, or empty
	Argument  string // what stands for the value in a usage text; empty for a switch
	Usage     string // one phrase
	Later     bool   // read and kept, but no backend supports it yet

	repeatable bool // each time it is given adds to it

	set  func(m *Mapping, value string) *InvalidError
	show func(m *Mapping) []string // the values given, in canonical form; for a switch one empty value
}

// Options returns all options there are, in the order of the canonical text.
func Options() []Option {
	return []Option{
		{Name: "name", Argument: "NAME", Usage: "a label, unique",
			set:  func(m *Mapping, v string) *InvalidError { m.name = v; return checkName(v) },
			show: func(m *Mapping) []string { return given(m.name) }},
		{Name: "ipv4", Shorthand: "4", Usage: "IPv4 only",
			set:  func(m *Mapping, _ string) *InvalidError { m.only |= IPv4; return nil },
			show: func(m *Mapping) []string { return on(m.only == IPv4) }},
		{Name: "ipv6", Shorthand: "6", Usage: "IPv6 only",
			set:  func(m *Mapping, _ string) *InvalidError { m.only |= IPv6; return nil },
			show: func(m *Mapping) []string { return on(m.only == IPv6) }},
		{Name: "source", Argument: "CIDR[,CIDR]", Usage: "only clients from these networks (repeatable)",
			repeatable: true, set: setSources, show: showSources},
		{Name: "interface", Argument: "NAME",
			Usage: "only packets that arrive on this interface (no local connections)",
			set:   func(m *Mapping, v string) *InvalidError { m.edit().iface = v; return checkInterface(v) },
			show:  func(m *Mapping) []string { return given(m.extra().iface) }},
		{Name: "owner", Argument: "USER", Usage: "only a server that runs as USER (name or uid) may answer",
			set:  setOwner,
			show: func(m *Mapping) []string { return given(m.extra().owner) }},
		later(flagOption("reserve", reserve, "with --owner: no other user can even bind the target port")),
		later(flagOption("direct", direct, "with --owner: the kernel gives the listen port to the server itself")),
		flagOption("hide", hide, "refuse direct connections to the target port from other hosts"),
		flagOption("forward", forward, "for a target on another host: switch IP forwarding on"),
		flagOption("sticky", sticky, "for several targets: a client stays on its target"),
		flagOption("temporary", temporary, "live until reboot or removal, never saved"),
	}
}

func later(o Option) Option {
	o.Later = true
	return o
}

func flagOption(name string, bit flags, usage string) Option {
	return Option{Name: name, Usage: usage,
		set:  func(m *Mapping, _ string) *InvalidError { m.flags |= bit; return nil },
		show: func(m *Mapping) []string { return on(m.flags&bit != 0) }}
}

func given(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func on(yes bool) []string {
	if !yes {
		return nil
	}
	return []string{""}
}

// Options returns the options that the mapping was given, each with its value, in the order of the canonical text.
func (m Mapping) Options() []Option {
	var given []Option
	for _, o := range Options() {
		for _, o.Value = range o.show(&m) {
			given = append(given, o)
		}
	}
	return given
}

// String returns the option as it is written: "--name shop", "-4".
func (o Option) String() string { return string(o.append(nil, o.Value)) }

// append writes an option. It joins a value by '=' that could be taken for a flag or a comment.
func (o *Option) append(b []byte, value string) []byte {
	b = append(b, o.flag()...)
	switch {
	case value == "":
		return b
	case value[0] == '-' || value[0] == '#':
		b = append(b, '=')
	default:
		b = append(b, ' ')
	}
	return append(b, value...)
}

func (o *Option) flag() string {
	if o.Shorthand != "" {
		return "-" + o.Shorthand
	}
	return "--" + o.Name
}

// apply sets the option of a mapping. An error names it by the flag.
func (o *Option) apply(m *Mapping, flag, value string) *InvalidError {
	err := o.set(m, value)
	if err != nil {
		err.Part = strings.TrimSpace(flag + " " + Printable(err.Part))
	}
	return err
}

func setSources(m *Mapping, value string) *InvalidError {
	for s := range strings.SplitSeq(value, ",") {
		p, err := parsePrefix(s)
		if err != nil {
			return err
		}
		m.edit().sources = append(m.edit().sources, p)
	}
	return nil
}

func showSources(m *Mapping) []string {
	sources := m.extra().sources
	if len(sources) == 0 {
		return nil
	}
	var b []byte
	for i, p := range sources {
		if i > 0 {
			b = append(b, ',')
		}
		b = p.AppendTo(b)
	}
	return []string{string(b)}
}

func parsePrefix(s string) (netip.Prefix, *InvalidError) {
	const fix = "write a network such as 10.0.0.0/8 or 2001:db8::/32, or one address"
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, &InvalidError{Part: s, Why: "not a network", Fix: fix}
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, &InvalidError{Part: s, Why: "an IPv4 address inside an IPv6 one", Fix: fix}
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96).Masked()
		return netip.Prefix{}, &InvalidError{Part: s, Why: "an IPv4 address inside an IPv6 one",
			Fix: "write " + p.String()}
	}
	if masked := p.Masked(); p != masked {
		return netip.Prefix{}, &InvalidError{Part: s, Why: fmt.Sprintf("has bits beyond /%d", p.Bits()),
			Fix: "write " + masked.String()}
	}
	return p, nil
}

// comparePrefixes orders networks by address, and puts a wider one in front of those inside it.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// tidySources sorts, and drops what is already inside another: the same packets, one text.
func tidySources(sources []netip.Prefix) []netip.Prefix {
	slices.SortFunc(sources, comparePrefixes)
	kept := sources[:0]
	for _, p := range sources {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return kept
}
