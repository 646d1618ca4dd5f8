package rules

import (
	"fmt"
	"net/netip"
)

// write gives a mapping its canonical text.
func (m *Mapping) write(options []Option) *InvalidError {
	spec := m.appendSpec(nil)
	return m.setText(m.appendOptions(spec, options), len(spec))
}

func (m *Mapping) setText(text []byte, specLen int) *InvalidError {
	m.text, m.specLen = string(text), uint32(specLen)
	if len(m.text) > MaxText {
		return tooLong(m.Spec())
	}
	return nil
}

func tooLong(spec string) *InvalidError {
	return &InvalidError{Mapping: spec, Why: fmt.Sprintf("longer than %d bytes with its options", MaxText),
		Fix: "write several mappings of the same ports, each with a part of the networks"}
}

// appendSpec writes [LISTEN_ADDR:]PORTS:[TARGET_ADDR:]PORTS/PROTO.
func (m *Mapping) appendSpec(b []byte) []byte {
	if listen := m.extra().listen; listen.IsValid() {
		b = append(appendAddr(b, listen), ':')
	}
	b = append(m.ports.append(b), ':')
	targets := m.extra().targets
	for i, t := range targets {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.append(b)
	}
	if len(targets) == 0 {
		b = m.target.append(b)
	}
	b = append(b, '/')
	return append(b, m.protocols.String()...)
}

func (t Target) append(b []byte) []byte {
	if t.Addr.IsValid() {
		b = append(appendAddr(b, t.Addr), ':')
	}
	return t.Ports.append(b)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		return a.AppendTo(b)
	}
	return append(a.AppendTo(append(b, '[')), ']')
}

// appendOptions writes every option that was given.
func (m *Mapping) appendOptions(b []byte, options []Option) []byte {
	for i := range options {
		for _, value := range options[i].show(m) {
			b = options[i].append(append(b, ' '), value)
		}
	}
	return b
}
