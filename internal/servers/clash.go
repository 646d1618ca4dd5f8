package servers

import (
	"fmt"
	"os"
	"strings"

	"portmap/internal/finding"
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

// ConfusesSockets reports whether a client hangs that uses one of its ports for two connections that end at
// one port of a server. Connection tracking gives the second one another source port, but only on the input
// hook. Early demux comes before it, and finds the socket of the first connection: the handshake of the
// second never ends. Linux 6.7 looks once more (commit e27c3295114b, nf_nat_ipv4_local_in and
// nf_nat_ipv6_local_in in nf_nat_proto.c). A release that cannot be read is taken for a new one.
func (k Kernel) ConfusesSockets() bool {
	var major, minor int
	if n, err := fmt.Sscanf(k.Release, "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	return k.EarlyDemux && (major < 6 || major == 6 && minor < 7)
}

// SharedTarget warns, on a kernel that confuses their sockets, of a mapping among the added ones and another
// that end at one port of a server on this host. All is every mapping that should be live. It returns one finding,
// about the added mapping, or none.
func SharedTarget(k Kernel, added, all []rules.Mapping) []finding.Finding {
	if !k.ConfusesSockets() {
		return nil
	}
	byTarget := map[uint16][]*rules.Mapping{}
	for i := range added {
		target := added[i].TargetPorts()
		for n := range target.Count() {
			port := target.First + uint16(n)
			byTarget[port] = append(byTarget[port], &added[i])
		}
	}
	for i := range all {
		target := all[i].TargetPorts()
		for n := range target.Count() {
			for _, m := range byTarget[target.First+uint16(n)] {
				if !m.Equal(all[i]) && bothTCP(m, &all[i]) && m.SharesClients(all[i]) {
					return []finding.Finding{{
						ID: finding.SharedTarget, Mapping: *m,
						Text: fmt.Sprintf("%s and %s end at one port; Linux %s lets a client hang that uses one port of its own for both",
							m.Spec(), all[i].Spec(), k.Release),
						Remedy: "sudo sysctl -w net.ipv4.tcp_early_demux=0",
					}}
				}
			}
		}
	}
	return nil
}

// bothTCP reports whether both mappings lead TCP to a server on this host.
func bothTCP(a, b *rules.Mapping) bool {
	return (a.Protocols() & b.Protocols()).Has(rules.TCP) && len(a.Targets())+len(b.Targets()) == 0
}
