package servers

import (
	"fmt"
	"os"
	"strings"

	"portmap/internal/finding"
	"portmap/rules"
	"portmap/rules/facts"

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
		eachTargetPort(&added[i], func(port uint16) { byTarget[port] = append(byTarget[port], &added[i]) })
	}
	for i := range all {
		var with *rules.Mapping
		eachTargetPort(&all[i], func(port uint16) {
			for _, m := range byTarget[port] {
				if with == nil && !m.Equal(all[i]) && m.SharesClients(all[i]) {
					with = m
				}
			}
		})
		if with != nil {
			return []finding.Finding{{
				ID: finding.SharedTarget, Mapping: *with,
				Text: fmt.Sprintf("%s and %s end at one port; Linux %s lets a client hang that uses one port of its "+
					"own for both",
					with.Spec(), all[i].Spec(), k.Release),
				Remedy: "sudo sysctl -w net.ipv4.tcp_early_demux=0",
			}}
		}
	}
	return nil
}

// eachTargetPort calls do for the ports of this host to which a mapping leads TCP.
func eachTargetPort(m *rules.Mapping, do func(port uint16)) {
	if !m.Protocols().Has(rules.TCP) {
		return
	}
	for _, target := range facts.LocalTargets(m) {
		for n := range target.Count() {
			do(target.First + uint16(n))
		}
	}
}
