// Package pinhole writes the commands that let connections of mappings pass a firewall, and those that take that back.
// It runs none of them.
package pinhole

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"
)

// Place is a chain in which a rule or the policy stops packets.
type Place struct {
	Program string // that changes it: "nft", "ufw", "firewalld", or one of iptables, such as "ip6tables-legacy"
	Table   string // "inet filter" of nft, "filter" of iptables; ufw needs none, and no chain
	Chain   string
	Before  uint64 // the rule before which new ones are put: its handle in nft, its number in iptables; 0: all rules
	Last    bool   // new ones are put behind all others
}

// Connections are those of mappings in one family, over one protocol. Several mappings have servers on this host.
type Connections struct {
	Mappings []rules.Mapping
	Family   rules.Families
	Protocol rules.Protocols
	Early    bool // their packets are not translated yet
}

// Commands let connections pass, and take that back. There can be none.
type Commands struct{ Remedy, Undo string }

func (c *Commands) add(remedy, undo string) {
	c.Remedy, c.Undo = and(c.Remedy, remedy), and(c.Undo, undo)
}

// and appends a command, and leaves it out before: a rule for both families is one, and ufw is reloaded once.
func and(commands, last string) string {
	list := slices.DeleteFunc(strings.Split(commands, " && "), func(c string) bool { return c == last || c == "" })
	return strings.Join(append(list, last), " && ")
}

// Let adds what lets connections pass a place, and no others.
func (c *Commands) Let(pass Connections, at Place) {
	pass.Mappings = slices.DeleteFunc(slices.Clone(pass.Mappings), func(m rules.Mapping) bool {
		return !m.Families().Has(pass.Family) || !m.Protocols().Has(pass.Protocol)
	})
	switch {
	case len(pass.Mappings) == 0:
	case at.Program == "nft":
		c.nft(pass, at)
	case at.Program == "ufw":
		c.ufw(pass)
	case at.Program == "firewalld":
		c.firewalld(pass, at)
	default:
		c.iptables(pass, at)
	}
}

// order returns the words for a new rule: behind all others, before all, or before one, whose number follows.
func (p Place) order(last, first, before string) string {
	switch {
	case p.Last:
		return last
	case p.Before != 0:
		return first + before + strconv.FormatUint(p.Before, 10)
	}
	return first
}

// nft gives a rule a comment, by which the undo finds it.
func (c *Commands) nft(pass Connections, at Place) {
	place := at.Table + " " + at.Chain
	if strings.Count(place, " ") != 2 || strings.ContainsFunc(place, notInNames) {
		return // nft would read something else
	}
	name := strings.TrimPrefix(pass.ports()+"/"+pass.Protocol.String(), "/")
	if listen := pass.Mappings[0].Listen(); pass.Early && listen.IsValid() { // of another address it is another rule
		name = listen.String() + " " + name
	}
	comment := fmt.Sprintf(`"portmap %s"`, name)
	insert := at.order("add rule "+place, "insert rule "+place, " handle ")
	undo := fmt.Sprintf("sudo nft -a list chain %s | sed -n 's|.*comment %s # handle |delete rule %[1]s handle |p' | "+
		"sudo nft -f -", place, comment)
	for _, match := range pass.matches(nft) {
		c.add(fmt.Sprintf("sudo nft %s %s accept comment '%s'", insert, match, comment), undo)
	}
}

// notInNames reports whether a name of nft cannot have a character without quotes. The space is between names.
func notInNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(" _-", r)
}

// iptables needs no comment: the undo repeats the rule.
func (c *Commands) iptables(pass Connections, at Place) {
	command, chain := "sudo "+at.Program, shell.Quote(at.Chain)
	if at.Table != "filter" {
		command += " -t " + at.Table
	}
	insert := at.order(" -A "+chain, " -I "+chain, " ")
	for _, match := range pass.matches(iptables) {
		rule := " " + match + " -j ACCEPT"
		c.add(command+insert+rule, command+" -D "+chain+rule)
	}
}

// ufw adds a rule to those that ufw loads before all others.
func (c *Commands) ufw(pass Connections) {
	version, hook := map[rules.Families]string{rules.IPv6: "6"}[pass.Family], "input"
	if facts.RemoteFamilies(&pass.Mappings[0]) != 0 {
		hook = "forward"
	}
	for _, match := range pass.matches(iptables) {
		rule := fmt.Sprintf("-A ufw%s-before-%s %s -j ACCEPT", version, hook, match)
		edit := fmt.Sprintf("sudo sed -i '%%s' /etc/ufw/before%s.rules", version)
		c.add(fmt.Sprintf(edit, "/^# End required lines/a "+rule), fmt.Sprintf(edit, "/^"+rule+"$/d"))
		c.add("sudo ufw reload", "sudo ufw reload")
	}
}
