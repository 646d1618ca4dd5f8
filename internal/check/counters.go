package check

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"portmap/ipt"
)

// counters are what the kernel and iptables-legacy count while packets of the probe's are on their way. Packets of
// others are among them: a counter is looked at only where nothing else says what stopped a packet.
type counters struct {
	kernel map[string]uint64 // /proc/net/netstat, by "TcpExt ListenDrops", and noRoom
	legacy []counted

	crowded bool // connection tracking has little room, or none
}

// counted is a rule of iptables-legacy that drops or rejects, or a policy to drop.
type counted struct {
	program, table, chain string
	number                int    // of the rule in its chain, from 1 on; 0 for a policy
	text                  string // "-A INPUT -p tcp --dport 8443 -j DROP"
	packets               uint64
}

// noRoom counts packets for which connection tracking had no room.
const noRoom = "conntrack drop"

func readCounters(ctx context.Context) counters {
	c := counters{kernel: kernelCounters(), legacy: legacyCounters(ctx), crowded: kernel("").crowded()}
	c.kernel[noRoom] = kernel("").conntrackStat("drop")
	return c
}

// kernelCounters reads pairs of lines: names, then values.
func kernelCounters() map[string]uint64 {
	found := map[string]uint64{}
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return found
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k := 1; k < min(len(names), len(values)); k++ {
			n, _ := strconv.ParseUint(values[k], 10, 64)
			found[strings.TrimSuffix(names[0], ":")+" "+names[k]] = n
		}
	}
	return found
}

// legacyCounters reads the rules that stop packets, of the tables that there are: to run the program would make them.
func legacyCounters(ctx context.Context) (list []counted) {
	for program, names := range map[string]string{"iptables-legacy": "ip_tables_names",
		"ip6tables-legacy": "ip6_tables_names"} {
		if text, err := os.ReadFile("/proc/thread-self/net/" + names); err != nil || len(text) == 0 {
			continue
		}
		cmd := exec.CommandContext(ctx, ipt.Program(program+"-save"), "-c")
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		if text, err := cmd.Output(); err == nil {
			list = append(list, stopsIn(program, string(text))...)
		}
	}
	return list
}

// stopsIn reads the output of iptables-save -c.
func stopsIn(program, text string) (list []counted) {
	table := ""
	numbers := map[string]int{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, numbers = line[1:], map[string]int{}
		case strings.HasPrefix(line, ":") && len(words) == 3 && words[1] == "DROP":
			list = append(list, counted{program, table, words[0][1:], 0, "-P " + words[0][1:] + " DROP",
				packetsOf(words[2])})
		case strings.HasPrefix(line, "[") && len(words) > 3 && words[1] == "-A":
			numbers[words[2]]++
			if stops(words) {
				list = append(list, counted{program, table, words[2], numbers[words[2]],
					strings.Join(words[1:], " "), packetsOf(words[0])})
			}
		}
	}
	return list
}

// stops reports whether a rule drops or rejects.
func stops(words []string) bool {
	i := slices.Index(words, "-j")
	return i > 0 && i+1 < len(words) && (words[i+1] == "DROP" || words[i+1] == "REJECT")
}

// packetsOf reads "[packets:bytes]".
func packetsOf(word string) uint64 {
	packets, _, _ := strings.Cut(strings.Trim(word, "[]"), ":")
	n, _ := strconv.ParseUint(packets, 10, 64)
	return n
}

// since returns what was counted after another reading.
func (c counters) since(before counters) counters {
	grown := counters{kernel: map[string]uint64{}, crowded: c.crowded}
	for name, n := range c.kernel {
		if n > before.kernel[name] {
			grown.kernel[name] = n - before.kernel[name]
		}
	}
	for _, r := range c.legacy {
		old := slices.IndexFunc(before.legacy, func(o counted) bool {
			return o.program == r.program && o.table == r.table && o.chain == r.chain && o.number == r.number &&
				o.text == r.text
		})
		if old >= 0 {
			r.packets -= min(r.packets, before.legacy[old].packets)
		}
		if r.packets > 0 {
			grown.legacy = append(grown.legacy, r)
		}
	}
	return grown
}
