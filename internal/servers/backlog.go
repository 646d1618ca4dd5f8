package servers

import (
	"fmt"

	"portmap/internal/finding"
	"portmap/rules"
)

// Backlogged tells of servers behind a mapping that do not accept the connections that wait for them: once the queue
// is full, the kernel drops further ones (net/ipv4/tcp_ipv4.c, tcp_v4_syn_recv_sock). Each server is told of once.
func Backlogged(m rules.Mapping, found Found) (advice []finding.Finding) {
	told := map[uint32]bool{}
	found.eachBehind(&m, func(s socket) {
		if s.protocol != rules.TCP || s.waiting < max(s.mostWaiting, 1) || told[s.inode] {
			return
		}
		told[s.inode] = true
		advice = append(advice, finding.Finding{
			ID: finding.SocketBacklog, Mapping: m,
			Text: fmt.Sprintf("%s does not accept connections: %d of %d wait at %s; look why it hangs, and restart it",
				found.server(s).Who(), s.waiting, s.mostWaiting, s.local),
			Seen: fmt.Sprintf("ss -Hltn sport = %d: Recv-Q %d, Send-Q %d", s.local.Port(), s.waiting, s.mostWaiting),
		})
	})
	return advice
}
