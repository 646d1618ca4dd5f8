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
// finds no room is dropped. The counters of drops never go back, so they count only while three quarters of the table
// are used.
func conntrackFull(k kernel) []finding.Finding {
	count, limit := k.conntrackUse()
	dropped := k.conntrackStat("drop") + k.conntrackStat("early_drop")
	var text string
	switch {
	case limit <= 0: // no limit, or no connection tracking
		return nil
	case count*10 >= limit*9:
		text = fmt.Sprintf("connection tracking has room for %d connections, and has %d: new ones are dropped when "+
			"it is full", limit, count)
	case dropped > 0 && k.crowded():
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
	k.enlarge(&f, count, limit)
	return []finding.Finding{f}
}

// crowded reports whether the table of connections can have been full a moment ago: the kernel counts as dropped, too,
// the second of two packets that begin the same connection.
func (k kernel) crowded() bool {
	count, limit := k.conntrackUse()
	return limit > 0 && count*4 > limit*3
}

// conntrackDrops says that connection tracking had no room for a packet of the probe's.
func conntrackDrops(k kernel, w *Way) finding.Finding {
	count, limit := k.conntrackUse()
	f := finding.Finding{
		ID: finding.ConntrackDrops, Mapping: w.Mapping, Seen: w.evidence(),
		Text: fmt.Sprintf("%s: connection tracking has no room, and the kernel drops new connections: it has %d of %d",
			w.Mapping.Spec(), count, limit),
	}
	k.enlarge(&f, count, limit)
	return f
}

// enlarge gives a finding the command that makes the table large enough, where that can be done.
func (k kernel) enlarge(f *finding.Finding, count, limit int) {
	if !k.writable(conntrackMax) {
		f.Text += "; the limit can only be changed outside of this container"
		return
	}
	f.Remedy = sysctl(conntrackMax, strconv.Itoa(2*max(count, limit)))
	f.Undo = sysctl(conntrackMax, strconv.Itoa(limit))
}

// conntrackUse returns how many connections there are, and for how many there is room; 0 is no limit.
func (k kernel) conntrackUse() (count, limit int) {
	count, _ = k.number(conntrackCount)
	limit, _ = k.number(conntrackMax)
	return count, limit
}

// conntrackStat returns a counter of connection tracking since the system started: drop counts connections that found
// no room, early_drop those that had to make room. The file has a line for each processor, in hexadecimal.
func (k kernel) conntrackStat(name string) (sum uint64) {
	lines := k.table("stat/nf_conntrack")
	if len(lines) == 0 {
		return 0
	}
	column := slices.Index(lines[0], name)
	for _, line := range lines[1:] {
		if column >= 0 && column < len(line) {
			n, _ := strconv.ParseUint(line[column], 16, 64)
			sum += n
		}
	}
	return sum
}
