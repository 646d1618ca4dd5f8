package check

import (
	"fmt"
	"os"
	"strings"

	"portmap/internal/others"
	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"

	"golang.org/x/sys/unix"
)

// cure is a command that lets a mapping's connections pass a rule, and nothing else, and the command that takes it
// back.
type cure struct{ remedy, undo string }

// cureFor returns the cure for what stopped a packet of a mapping: a rule before the one that stopped it, in the place
// where its tool keeps rules.
func cureFor(s stop, m rules.Mapping, w *Way) cure {
	switch {
	case s.number == 0 && !s.policy(): // the rule is gone already
		return cure{}
	case s.tool == "ufw":
		return ufwCure(s, m)
	case s.tool == "firewalld":
		return firewalldCure(firewalldConf)
	case s.system == others.Tables:
		return tableCure(s, m, w)
	}
	return iptablesCure(s, m, w)
}

// translated reports whether the packet had been translated where it was stopped.
func (s stop) translated(w *Way) bool { return s.answer || s.at != w.To.Port() || s.chain == "INPUT" }

// tableCure inserts a rule of nft before the one that drops; behind all others where a policy drops.
func tableCure(s stop, m rules.Mapping, w *Way) cure {
	place := s.fullTable() + " " + s.chain
	if strings.Count(place, " ") != 2 || strings.IndexFunc(place, others.NotInNames) >= 0 {
		return cure{} // nft would read something else
	}
	match := s.match(m, w)
	comment := fmt.Sprintf(`"portmap %s/%s"`, m.ListenPorts(), w.Protocol) // by which the undo finds it
	words := []string{"sudo", "nft", "insert", "rule"}
	words = append(words, strings.Fields(place)...)
	if s.policy() {
		words[2] = "add"
	} else {
		words = append(words, "handle", fmt.Sprint(s.handle))
	}
	words = append(words, strings.Fields(match)...)
	words = append(words, "accept", "comment", comment)
	list := "sudo " + shell.Join(append([]string{"nft", "-a", "list", "chain"}, strings.Fields(place)...)...)
	return cure{
		remedy: shell.Join(words...),
		undo: fmt.Sprintf("sudo %s handle $(%s | sed -n 's|.*comment %s # handle ||p')",
			shell.Join(append([]string{"nft", "delete", "rule"}, strings.Fields(place)...)...), list, comment),
	}
}

// match returns what the connections of the mapping have, in the words of nft.
func (s stop) match(m rules.Mapping, w *Way) string {
	protocol := w.Protocol.String()
	switch {
	case s.answer:
		return fmt.Sprintf("meta l4proto %s ct status dnat ct direction reply", protocol)
	case !s.translated(w):
		return fmt.Sprintf("%s dport %s fib daddr type local", protocol, m.ListenPorts())
	case facts.RemoteFamilies(&m) != 0:
		return fmt.Sprintf("meta l4proto %s ct status dnat ct original proto-dst %s", protocol, m.ListenPorts())
	}
	return fmt.Sprintf("%s dport %s ct status dnat", protocol, shownTargets(m))
}

// shownTargets lists the target ports on this host.
func shownTargets(m rules.Mapping) string {
	var texts []string
	for _, ports := range facts.PortsHere(&m) {
		texts = append(texts, ports.String())
	}
	if len(texts) > 1 {
		return "{ " + strings.Join(texts, ", ") + " }"
	}
	return strings.Join(texts, "")
}

// iptablesCure inserts a rule at the place of the one that drops; behind all others where a policy drops.
func iptablesCure(s stop, m rules.Mapping, w *Way) cure {
	rule := s.option(m, w)
	table := ""
	if s.table != "filter" {
		table = " -t " + s.table
	}
	chain := shell.Quote(s.chain)
	insert := fmt.Sprintf("-I %s %d", chain, s.number)
	if s.policy() {
		insert = "-A " + chain
	}
	return cure{
		remedy: fmt.Sprintf("sudo %s%s %s %s", s.program, table, insert, rule),
		undo:   fmt.Sprintf("sudo %s%s -D %s %s", s.program, table, chain, rule),
	}
}

// option is match in the words of iptables.
func (s stop) option(m rules.Mapping, w *Way) string {
	ports := strings.Replace(m.ListenPorts().String(), "-", ":", 1)
	if !s.translated(w) {
		return fmt.Sprintf("-p %s --dport %s -m addrtype --dst-type LOCAL -j ACCEPT", w.Protocol, ports)
	}
	return fmt.Sprintf("-p %s -m conntrack --ctstate DNAT --ctorigdstport %s -j ACCEPT", w.Protocol, ports)
}

// firewalldConf is the configuration of firewalld.
const firewalldConf = "/etc/firewalld/firewalld.conf"

// firewalldCure has firewalld let pass what is translated, as it does unless StrictForwardPorts is set
// (firewalld.conf(5)). What it rejects else was meant so.
func firewalldCure(file string) cure {
	content, _ := os.ReadFile(file)
	if !strings.Contains("\n"+string(content), "\nStrictForwardPorts=yes") {
		return cure{}
	}
	set := func(from, to string) string {
		return "sudo " + shell.Join("sed", "-i", "s/^StrictForwardPorts="+from+"/StrictForwardPorts="+to+"/", file) +
			" && sudo firewall-cmd --reload"
	}
	return cure{remedy: set("yes", "no"), undo: set("no", "yes")}
}

// ufwCure adds a rule to those that ufw loads before all others.
func ufwCure(s stop, m rules.Mapping) cure {
	chain, file := "ufw-before-input", "/etc/ufw/before.rules"
	if s.family == unix.NFPROTO_IPV6 {
		chain, file = "ufw6-before-input", "/etc/ufw/before6.rules"
	}
	rule := fmt.Sprintf("-A %s -m conntrack --ctstate DNAT --ctorigdstport %s -j ACCEPT", chain,
		strings.Replace(m.ListenPorts().String(), "-", ":", 1))
	return cure{
		remedy: "sudo " + shell.Join("sed", "-i", "/^# End required lines/a "+rule, file) + " && sudo ufw reload",
		undo:   "sudo " + shell.Join("sed", "-i", "/^"+rule+"$/d", file) + " && sudo ufw reload",
	}
}
