package check

import (
	"net/netip"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"

	"golang.org/x/sys/unix"
)

// A rule that drops both protocols in both families is one cause: each rule that lets pass is inserted once, and the
// undo finds each by a comment of its own.
func TestCuresOfOneCause(t *testing.T) {
	m := lab.Mappings(t, "443:8443/tcp,udp")[0]
	s := stop{family: unix.NFPROTO_INET, table: "filter", chain: "input", handle: 7, number: 1, at: 8443}
	var list []finding.Finding
	for _, to := range []string{"192.0.2.1:443", "[2001:db8::1]:443"} {
		for _, protocol := range m.Protocols().Each() {
			w := &Way{Mapping: m, Protocol: protocol, To: netip.MustParseAddrPort(to)}
			c := cureFor(s, w)
			list = add(list, finding.Finding{ID: finding.RuleDrops, Text: "it drops", Remedy: c.Remedy, Undo: c.Undo})
		}
	}
	if len(list) != 1 {
		t.Fatalf("%d findings", len(list))
	}
	for _, text := range []string{list[0].Remedy, list[0].Undo} {
		if strings.Count(text, `"portmap 443/tcp"`) != 1 || strings.Count(text, `"portmap 443/udp"`) != 1 {
			t.Error(text)
		}
	}
}
