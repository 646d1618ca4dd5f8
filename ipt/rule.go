package ipt

import (
	"net/netip"
	"strconv"
	"strings"

	"portmap/rules"
)

// verdict is what a rule does with a packet that it matches.
type verdict uint8

const (
	note       verdict = iota // nothing: the rule is there for its comment
	jump                      // tries the rules of a chain, and comes back
	goTo                      // tries the rules of a chain, and does not come back
	toPort                    // translates the destination to a port, of the same address or of another
	masquerade                // translates the source to an address of the interface by which the packet leaves
	drop
	reset        // refuses by a TCP reset
	unreachable  // refuses by an ICMP error: port unreachable
	unreachable6 // the same of ICMPv6
)

// locality is what a rule asks of the destination.
type locality uint8

const (
	anywhere  locality = iota
	here               // an address of this host
	hereInVRF          // an address of this host in the VRF of the interface that the packet came by, and in no other
)

// occasion is what else a rule can ask of a packet, in words that always stand together.
type occasion uint8

const (
	always    occasion = iota
	answering          // it answers on a translated flow, and is from a socket of another user than root
	direct             // it is the first packet of a connection of another host that nobody translated
	toOne              // it is for one host: no broadcast and no multicast
	toOne6             // the same over IPv6, which has no broadcasts
)

// occasionWords are what iptables says for occasions.
//
// A packet without a socket passes: the kernel's own resets, and what a socket still has to send when it is closed.
// `! --uid-owner` alone takes such a packet for one of another user (xt_owner.c, owner_mt).
var occasionWords = [...][]string{
	answering: {"-m", "conntrack", "--ctstate", "DNAT", "--ctdir", "REPLY", "-m", "owner", "--socket-exists",
		"-m", "owner", "!", "--uid-owner", "0"},
	direct: {"!", "-i", "lo", "-m", "conntrack", "--ctstate", "NEW", "-m", "conntrack", "!", "--ctstate", "DNAT"},
	toOne:  {"-m", "addrtype", "!", "--dst-type", "BROADCAST,MULTICAST"},
	toOne6: {"-m", "addrtype", "!", "--dst-type", "MULTICAST"},
}

// rejectWords are what iptables says for the verdicts that refuse.
var rejectWords = [...]string{
	reset: "tcp-reset", unreachable: "icmp-port-unreachable", unreachable6: "icmp6-port-unreachable",
}

const tcp = rules.TCP

// rule is a rule of iptables as a value: what it asks of a packet, its comment and its verdict. Rules that are equal do
// the same, however a version of iptables writes them. It can hold the rules that portmap makes.
type rule struct {
	source, destination netip.Prefix
	notTo               netip.Prefix // the destination is in no such network
	iface               string       // that the packet came by
	protocol            rules.Protocols
	ports               rules.Ports // the destination's; Last is 0 where any will do
	reply               bool        // iface is the one by which the packet leaves, ports are the source's
	invalid             bool        // connection tracking calls the packet invalid
	outside             bool        // it came from another host: not by lo
	translated          bool        // its connection has another destination than its client used
	original            rules.Ports // the destination port that the client used; Last is 0 where any will do
	owned               bool        // the packet is not from a socket of the user uid
	uid                 uint32      // 0 unless owned
	when                occasion
	to                  locality
	share               share
	verdict             verdict
	address             netip.Addr // where toPort sends it; not valid for the one that the packet has
	port                uint16
	chain               string // where jump and goTo lead, in the same table
	comment             string

	// foreign is the text of a rule that portmap cannot have made. Of all else, such a rule has only its comment and,
	// with the verdict jump or goTo, the chain to which it leads.
	foreign string
}

// hereWords are what iptables says for localities. The second has the first negated, so that no packet goes through our
// chains twice.
var hereWords = [...][]string{
	here: {"-m", "addrtype", "--dst-type", "LOCAL"},
	hereInVRF: {"-m", "addrtype", "!", "--dst-type", "LOCAL", "-m", "addrtype", "--dst-type", "LOCAL",
		"--limit-iface-in"},
}

// backward returns the rule for the answers to the packets of this one, which arrive.
func (r rule) backward() rule {
	r.source, r.destination = r.destination, r.source
	r.reply = r.iface != "" || r.ports.Last != 0
	return r
}

// forAnswers returns the rule for the answers to the packets of this one, by the port that their clients used. One that
// asks for a user is about answers from one port, its port.
func (r rule) forAnswers() rule {
	r.source, r.destination = r.destination, r.source
	r.original, r.ports = r.ports, rules.Ports{}
	if r.owned {
		r.ports, r.port, r.reply = rules.Ports{First: r.port, Last: r.port}, 0, true
	}
	return r
}

// leadsTo returns the chain to which a rule leads; "" if it leads nowhere.
func (r *rule) leadsTo() string {
	if r.verdict == jump || r.verdict == goTo {
		return r.chain
	}
	return ""
}

// String writes the rule as iptables-save does behind `-A CHAIN `.
func (r rule) String() string { return string(r.append(nil)) }

func (r *rule) append(b []byte) []byte {
	if r.foreign != "" {
		return append(b, r.foreign...)
	}
	return r.appendWords(b, ' ', quoted)
}

// args returns the rule as arguments of iptables. The rule is not a foreign one.
func (r *rule) args() []string {
	const between = "\x00"
	return strings.Split(string(r.appendWords(nil, between[0], func(s string) string { return s })), between)
}

// appendWords appends the words of the rule with a byte between them. The comment is the only one that needs quotes.
func (r *rule) appendWords(b []byte, gap byte, quote func(string) string) []byte {
	start := len(b)
	words := func(list ...string) {
		for _, w := range list {
			if len(b) > start {
				b = append(b, gap)
			}
			b = append(b, w...)
		}
	}
	if r.source.IsValid() {
		words("-s", "")
		b = r.source.AppendTo(b)
	}
	if r.destination.IsValid() {
		words("-d", "")
		b = r.destination.AppendTo(b)
	}
	if r.notTo.IsValid() {
		words("!", "-d", "")
		b = r.notTo.AppendTo(b)
	}
	if r.outside {
		words("!", "-i", "lo")
	}
	interfaceFlag, portFlag := "-i", "--dport"
	if r.reply {
		interfaceFlag, portFlag = "-o", "--sport"
	}
	if r.iface != "" {
		words(interfaceFlag, r.iface)
	}
	if r.protocol != 0 {
		words("-p", r.protocol.String())
	}
	if r.ports.Last != 0 {
		words("-m", r.protocol.String(), portFlag, "")
		b = appendPorts(b, r.ports)
	}
	words(r.share.words()...)
	if r.invalid {
		words("-m", "conntrack", "--ctstate", "INVALID")
	}
	if r.translated {
		words("-m", "conntrack", "--ctstate", "DNAT")
	}
	if r.original.Last != 0 {
		words("-m", "conntrack", "--ctorigdstport", "")
		b = appendPorts(b, r.original)
	}
	if r.owned {
		words("-m", "owner", "!", "--uid-owner", "")
		b = strconv.AppendUint(b, uint64(r.uid), 10)
	}
	words(occasionWords[r.when]...)
	words(hereWords[r.to]...)
	if r.comment != "" {
		words("-m", "comment", "--comment", quote(r.comment))
	}
	switch r.verdict {
	case note:
	case jump:
		words("-j", r.chain)
	case goTo:
		words("-g", r.chain)
	case drop:
		words("-j", "DROP")
	case reset, unreachable, unreachable6:
		words("-j", "REJECT", "--reject-with", rejectWords[r.verdict])
	case toPort:
		words("-j", "DNAT", "--to-destination", "")
		if r.address.IsValid() {
			return netip.AddrPortFrom(r.address, r.port).AppendTo(b)
		}
		b = strconv.AppendUint(append(b, ':'), uint64(r.port), 10)
	case masquerade:
		words("-j", "MASQUERADE")
	}
	return b
}

func appendPorts(b []byte, p rules.Ports) []byte {
	b = strconv.AppendUint(b, uint64(p.First), 10)
	if p.Last != p.First {
		b = strconv.AppendUint(append(b, ':'), uint64(p.Last), 10)
	}
	return b
}

// quoted writes a comment as iptables-save does (iptables, libxtables/xtables.c, xtables_save_string).
func quoted(comment string) string {
	if !strings.ContainsAny(comment, `"\'`) {
		return `"` + comment + `"`
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(comment) + `"`
}
