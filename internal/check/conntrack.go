package check

import (
	"fmt"
	"slices"
	"strconv"

	"portmap/internal/finding"
)

// Paths below /proc/sys/net. Each network namespace counts for itself, and all have one limit
// (Documentation/networking/nf_conntrack-sysctl.rst).
const (
	conntrackCount = "netfilter/nf_conntrack_count"
	conntrackMax   = "netfilter/nf_conntrack_max"
)

// conntrackFull tells of a table of connections that is full, or nearly so: the first packet of a connection that
// finds no room is dropped. The counters of drops never go back, so they count only while half of the table is used.
func conntrackFull(k kernel) []finding.Finding {
	count, known := k.number(conntrackCount)
	limit, _ := k.number(conntrackMax)
	if !known || limit <= 0 { // 0 is no limit
		return nil
	}
	dropped := k.conntrackDrops()
	var text string
	switch {
	case count*10 >= limit*9:
		text = fmt.Sprintf("connection tracking has room for %d connections, and has %d: new ones are dropped when "+
			"it is full", limit, count)
	case dropped > 0 && count*2 > limit:
		text = fmt.Sprintf("connection tracking has dropped connections, for which it had no room: it has %d of %d",
			count, limit)
	default:
		return nil
	}
	f := finding.Finding{
		ID: finding.ConntrackFull, Text: text,
		Seen: fmt.Sprintf("net.netfilter.nf_conntrack_count = %d, net.netfilter.nf_conntrack_max = %d, drop and "+
			"early_drop in /proc/net/stat/nf_conntrack: %d", count, limit, dropped),
	}
	if k.writable(conntrackMax) {
		f.Remedy = sysctl(conntrackMax, strconv.Itoa(2*limit))
		f.Undo = sysctl(conntrackMax, strconv.Itoa(limit))
	} else {
		f.Text += "; the limit can only be changed outside of this container"
	}
	return []finding.Finding{f}
}

// conntrackDrops returns how many connections found no room, or had to make room, since the system started. The file
// has a line for each processor, in hexadecimal.
func (k kernel) conntrackDrops() (sum uint64) {
	lines := k.table("stat/nf_conntrack")
	if len(lines) == 0 {
		return 0
	}
	for _, name := range [...]string{"drop", "early_drop"} {
		column := slices.Index(lines[0], name)
		for _, line := range lines[1:] {
			if column >= 0 && column < len(line) {
				n, _ := strconv.ParseUint(line[column], 16, 64)
				sum += n
			}
		}
	}
	return sum
}
