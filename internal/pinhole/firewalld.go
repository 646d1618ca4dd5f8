package pinhole

import (
	"fmt"
	"slices"
	"strings"

	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"
)

// firewalld has firewalld forward the port of a mapping, too. With StrictForwardPorts it rejects what others translate,
// except from a port that it forwards itself (firewalld.conf(5)). The mapping still translates, since it comes first.
// What firewalld stops in its other chains was meant so. The rule is added now and for later: a reload would lose what
// is not permanent.
func (c *Commands) firewalld(pass Connections, at Place) {
	if !strings.HasSuffix(at.Chain, "_dnat") {
		return
	}
	m := &pass.Mappings[0]
	for _, when := range [...][]string{{"sudo", "firewall-cmd"}, {"sudo", "firewall-cmd", "--permanent"}} {
		add, remove := slices.Clone(when), slices.Clone(when)
		for _, family := range m.Families().Each() {
			rule := "-rich-rule=" + forwardPort(m, family, pass.Protocol)
			add, remove = append(add, "--add"+rule), append(remove, "--remove"+rule)
		}
		c.add(shell.Join(add...), shell.Join(remove...))
	}
}

// forwardPort writes a mapping as a rule of firewalld.richlanguage(5). Of several targets it has the first one.
func forwardPort(m *rules.Mapping, family rules.Families, protocol rules.Protocols) string {
	text := "rule family=" + strings.ToLower(family.String())
	if listen := m.Listen(); listen.IsValid() {
		text += " destination address=" + listen.String()
	}
	target := facts.TargetsIn(m, family)[0]
	text += fmt.Sprintf(" forward-port port=%s protocol=%s to-port=%s", m.ListenPorts(), protocol, target.Ports)
	if target.Remote() {
		text += " to-addr=" + target.Addr.String()
	}
	return text
}
