package trace

import (
	"fmt"
	"strings"

	"portmap/internal/attribute"
)

// Connection is what connection tracking knew of a packet at the last hook where it was reported. Older kernels do not
// tell: then State is "".
type Connection struct {
	ID         uint32 // as conntrack -L -o id shows it; 0 of a packet that is not tracked
	State      string // new, established, related, invalid or untracked
	Answer     bool   // it goes back to the client
	Translated bool   // its destination was changed
}

// The attributes of a report on connection tracking (enum nft_trace_attributes, linux/netfilter/nf_tables.h).
const (
	traceID        = 18
	traceDirection = 19
	traceStatus    = 20
	traceState     = 21
)

// take reads an attribute of a report.
func (c *Connection) take(kind uint16, value []byte) {
	const statusDNAT = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
	switch kind {
	case traceID:
		c.ID = attribute.Uint32(value)
	case traceDirection:
		c.Answer = len(value) == 1 && value[0] == 1 // IP_CT_DIR_REPLY
	case traceStatus:
		c.Translated = attribute.Uint32(value)&statusDNAT != 0
	case traceState:
		c.State = stateName(attribute.Uint32(value))
	}
}

// stateName names a state as nft does for ct state (NF_CT_STATE_BIT, linux/netfilter/nf_conntrack_common.h).
func stateName(bits uint32) string {
	for bit, name := range [...]string{"invalid", "established", "related", "new", 6: "untracked"} {
		if bits&(1<<bit) != 0 && name != "" {
			return name
		}
	}
	return ""
}

// String says it in a few words: "new, dnat, id 3523"; "" where the kernel does not tell.
func (c Connection) String() string {
	if c.State == "" {
		return ""
	}
	words := []string{c.State}
	if c.Answer {
		words = append(words, "reply")
	}
	if c.Translated {
		words = append(words, "dnat")
	}
	if c.ID != 0 {
		words = append(words, fmt.Sprintf("id %d", c.ID))
	}
	return strings.Join(words, ", ")
}
