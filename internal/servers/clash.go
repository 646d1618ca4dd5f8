package servers

import (
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Kernel is what matters of a kernel for mappings that end at one port of a server.
type Kernel struct {
	Release    string // of uname(2), for example "6.1.0-18-amd64"
	EarlyDemux bool   // looks for the socket of a TCP segment before its source port is translated, ip-sysctl.rst
}

// ThisKernel returns the running one. What cannot be read is the default.
func ThisKernel() Kernel {
	k := Kernel{EarlyDemux: true}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		k.Release = unix.ByteSliceToString(name.Release[:])
	}
	for _, switchOf := range [...]string{"ip_early_demux", "tcp_early_demux"} {
		value, err := os.ReadFile("/proc/sys/net/ipv4/" + switchOf) // they are for IPv6, too
		if err == nil && strings.TrimSpace(string(value)) == "0" {
			k.EarlyDemux = false
		}
	}
	return k
}

// ConfusesSockets reports whether a client hangs that uses one of its ports for two connections that end at one port of a
// server. Connection tracking gives the second one another source port, but only on the input hook. Early demux comes before
// it, and finds the socket of the first connection: the handshake of the second never ends. Linux 6.7 looks once more
// (commit e27c3295114b, nf_nat_ipv4_local_in and nf_nat_ipv6_local_in in nf_nat_proto.c). A release that cannot be read
// is taken for a new one.
func (k Kernel) ConfusesSockets() bool {
	var major, minor int
	if n, err := fmt.Sscanf(k.Release, "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	return k.EarlyDemux && (major < 6 || major == 6 && minor < 7)
}

// SharedTarget warns, on a kernel that confuses their sockets, of a mapping among the added ones and another that end at one
// port of a server on this host. Others is every mapping that is live, with the added ones or without. It returns "" where
// there are none.
func SharedTarget(k Kernel, added, others []rules.Mapping) string {
	if !k.ConfusesSockets() {
		return ""
	}
	byTarget := map[uint16][]*rules.Mapping{}
	for i := range added {
		for port := range ports(added[i].TargetPorts()) {
			byTarget[port] = append(byTarget[port], &added[i])
		}
	}
	for i := range others {
		for port := range ports(others[i].TargetPorts()) {
			for _, m := range byTarget[port] {
				if shareClients(*m, others[i]) {
					return fmt.Sprintf("warning: %s and %s end at one port; Linux %s lets a client hang that uses one port of its own "+
						"for both; to prevent it: sudo sysctl -w net.ipv4.tcp_early_demux=0", m.Spec(), others[i].Spec(), k.Release)
				}
			}
		}
	}
	return ""
}

func ports(p rules.Ports) iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for k := range p.Count() {
			if !yield(p.First + uint16(k)) {
				return
			}
		}
	}
}

// shareClients reports whether one client can have TCP connections by both mappings at the same address of this host.
func shareClients(a, b rules.Mapping) bool {
	return !a.Equal(b) && len(a.Targets())+len(b.Targets()) == 0 &&
		a.Protocols().Has(rules.TCP) && b.Protocols().Has(rules.TCP) && a.Families()&b.Families() != 0 &&
		(a.Listen() == b.Listen() || !a.Listen().IsValid() || !b.Listen().IsValid()) &&
		(a.Interface() == b.Interface() || a.Interface() == "" || b.Interface() == "") &&
		sourcesOverlap(a.Sources(), b.Sources())
}

func sourcesOverlap(a, b []netip.Prefix) bool {
	return len(a) == 0 || len(b) == 0 ||
		slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}
