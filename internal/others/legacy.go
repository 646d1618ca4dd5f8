package others

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"portmap/ipt"
	"portmap/rules"
)

// legacyProgram is iptables-legacy of one family, and the file in /proc/net with the names of its tables.
type legacyProgram struct {
	name, tables string
	families     rules.Families
}

func legacyPrograms() []legacyProgram {
	return []legacyProgram{
		{"iptables-legacy", "ip_tables_names", rules.IPv4},
		{"ip6tables-legacy", "ip6_tables_names", rules.IPv6},
	}
}

// legacy looks through the tables of iptables-legacy, where there are any: to run the program would make them.
func (r *Rules) legacy(ctx context.Context) error {
	var errs []error
	for _, program := range legacyPrograms() {
		names, err := os.ReadFile("/proc/thread-self/net/" + program.tables)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, table := range strings.Fields(string(names)) {
			if table != "nat" && table != "raw" && table != "filter" {
				continue
			}
			chains, err := legacyRules(ctx, program.name, table)
			errs = append(errs, err)
			if table == "filter" {
				r.legacyDrops(chains, program.name, program.families)
			} else {
				r.walkLegacy(chains, table, program.name, program.families)
			}
		}
	}
	return errors.Join(errs...)
}

func (r *Rules) walkLegacy(chains map[string][]rule, table, program string, families rules.Families) {
	priority := map[string]int{"nat": -100, "raw": -300}[table] // linux/netfilter_ipv4.h
	w := walk{rules: func(chain string) []rule { return chains[chain] }, ours: "PORTMAP"}
	for _, base := range [...]string{"PREROUTING", "OUTPUT"} {
		w.visit = r.visitor(Rule{System: Legacy, Table: table + " of " + program, Priority: priority})
		under := anyPacket()
		under.families, under.own = families, base == "OUTPUT"
		w.from(base, under, 0)
	}
}

// dropPolicy is under which name the chains of iptables-legacy hold that the policy of one is to drop.
func dropPolicy(chain string) string { return "-P " + chain + " DROP" }

func (r *Rules) legacyDrops(chains map[string][]rule, program string, families rules.Families) {
	_, ufw := chains["ufw-before-input"]
	_, ufw6 := chains["ufw6-before-input"]
	for _, chain := range [...]string{"INPUT", "FORWARD"} {
		if _, drops := chains[dropPolicy(chain)]; !drops {
			continue
		}
		d := Drop{System: Legacy, Table: "filter of " + program, Chain: chain, ufw: ufw || ufw6, families: families,
			forward: chain == "FORWARD"}
		d.follow(walk{rules: func(chain string) []rule { return chains[chain] }})
		d.findUplinks()
		r.drops = append(r.drops, d)
	}
}

// legacyRules runs `iptables-legacy -S`. Where there are more rules than are to be looked at, it ends the
// program, and there are none.
func legacyRules(ctx context.Context, program, table string) (map[string][]rule, error) {
	path := ipt.Program(program)
	if path == "" {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-t", table, "-S")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	chains, complete := readRules(output)
	if !complete {
		cancel()
		_ = cmd.Wait()
		return nil, nil
	}
	return chains, cmd.Wait()
}

func readRules(output io.Reader) (chains map[string][]rule, complete bool) {
	chains = map[string][]rule{}
	lines := bufio.NewScanner(output)
	for count := 0; lines.Scan(); {
		if text := lines.Text(); text == dropPolicy("INPUT") || text == dropPolicy("FORWARD") {
			chains[text] = []rule{}
		}
		words := split(lines.Text())
		if len(words) < 2 || words[0] != "-A" {
			continue
		}
		if count++; count > maxRules {
			return nil, false
		}
		r := parse(words[2:])
		r.number = uint64(len(chains[words[1]]) + 1)
		chains[words[1]] = append(chains[words[1]], r)
	}
	return chains, lines.Err() == nil
}

// split splits a line of iptables -S; comments stand in quotes, with a backslash before each quote inside
// (libxtables/xtables.c, xtables_save_string).
func split(line string) (words []string) {
	var word strings.Builder
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == ' ' && !quoted:
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteByte(c)
		}
	}
	return append(words, word.String())
}

// parse reads the words of a rule behind the chain's name.
func parse(words []string) rule {
	r := rule{match: anyPacket()}
	var target, destination string
	possible := true
	for i := 0; i < len(words); i++ {
		inverted := words[i] == "!" && i+1 < len(words)
		if inverted {
			i++
		}
		value := ""
		if i+1 < len(words) && takesValue(words[i], words[i+1]) {
			value = words[i+1]
		}
		n := anyPacket()
		switch option := words[i]; option {
		case "-j", "-g":
			target = value
		case "--to-destination":
			destination = " to " + value
		case "--to-ports":
			destination = " to :" + value
		case "--notrack":
			target = "NOTRACK"
		default:
			n = condition(option, value, inverted)
		}
		if value != "" {
			i++
		}
		var some bool
		r.match, some = r.match.and(n)
		possible = possible && some
	}
	switch target {
	case "DNAT":
		r.action, r.to = translate, "dnat"+destination
	case "REDIRECT":
		r.action, r.to = translate, "redirect"+destination
	case "NOTRACK":
		r.action, r.to = untrack, "notrack"
	case "ACCEPT":
		r.action = accept
	case "RETURN":
		r.action = leave
	case "DROP", "REJECT":
		r.action, r.to = drop, strings.ToLower(target)
	default:
		r.jump = target // of a target that is no chain there are no rules
	}
	if !possible {
		r.match.protocols = 0
	}
	return r
}

// takesValue reports whether the word behind an option is its value. Many options have none; what follows them
// is an option.
func takesValue(option, next string) bool {
	isOption := strings.HasPrefix(next, "-") || next == "!"
	return strings.HasPrefix(option, "-") && (option == "--comment" || !isOption)
}

// condition reads one condition. Of an inverted one only ports are read: of the others what it excludes is little.
func condition(option, value string, inverted bool) match {
	n := anyPacket()
	switch option {
	case "-p":
		if !inverted {
			n.protocols = map[string]rules.Protocols{"tcp": rules.TCP, "udp": rules.UDP}[value]
		}
	case "--dport", "--dports":
		if n.ports = portList(value); n.ports != nil && inverted {
			n.ports = exceptAll(n.ports)
		}
		n.unread = n.ports == nil
	case "-s", "-d":
		network, err := netip.ParsePrefix(value)
		apart := err != nil || !network.Addr().IsLoopback()
		n.sender, n.receiver = apart && option == "-s", apart && option == "-d"
		switch {
		case inverted:
		case err != nil:
			n.unread = true
		case option == "-s":
			n.from = []netip.Prefix{network}
		default:
			n.to = []netip.Prefix{network}
		}
	case "-o":
		n.receiver, n.unread = value != "lo", true
	case "-i":
		n.sender = value != "lo"
		if !inverted && !strings.HasSuffix(value, "+") { // which begins names
			n.iface = value
		}
	case "--match-set", "--src-range", "--dst-range", "--mac-source", "--source-country", "--physdev-in":
		n.sender, n.receiver, n.unread = true, true, true
	case "-m":
		n.limited = limits(value)
		n.unread = !slices.Contains([]string{"tcp", "udp", "multiport", "comment", "addrtype", "conntrack"}, value)
	case "--ctstate":
		states := strings.Split(value, ",") // of a connection that begins, the others say nothing
		n.translated = slices.Contains(states, "DNAT") && !slices.Contains(states, "NEW") && !inverted
		n.unread = !n.translated
	case "--ctorigdstport":
		n.original = portList(value)
		n.unread = n.original == nil || inverted
	case "--dst-type":
		n.unread = inverted || !slices.Contains(strings.Split(value, ","), "LOCAL")
	case "--comment", "--limit-iface-in", "--reject-with":
	default:
		n.unread = strings.HasPrefix(option, "-") && !strings.HasPrefix(option, "--random") && option != "--persistent"
	}
	return n
}

// portList reads "443", "8000:8010" or "80,443,8000:8010"; nil where it cannot.
func portList(text string) (list []rules.Ports) {
	for _, item := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(item, ":")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil {
			return nil
		}
		list = append(list, rules.Ports{First: uint16(from), Last: uint16(to)})
	}
	return list
}

func exceptAll(ports []rules.Ports) []rules.Ports {
	rest := []rules.Ports{{First: 0, Last: 65535}}
	for _, p := range ports {
		rest, _ = intersect(rest, except(p), commonPorts)
	}
	return rest
}
