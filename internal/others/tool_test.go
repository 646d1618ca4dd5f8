package others

import "testing"

// Names as firewalld 1.3 and 2.3 make them with FirewallBackend=iptables, and some that others make.
func TestToolOfChainsOfIPTables(t *testing.T) {
	for chain, want := range map[string]string{
		"INPUT_dnat": "firewalld", "PREROUTING_direct": "firewalld", "INPUT_ZONES": "firewalld",
		"FORWARD_POLICIES_pre": "firewalld", "IN_public_deny": "firewalld", "IN_block": "firewalld",
		"PRE_allow-host-ipv6": "firewalld",
		"INPUT":               "", "INPUT_LOG": "", "IN_": "", "IN_WEB": "",
		"ufw-user-input": "ufw", "DOCKER": "Docker",
	} {
		if got := ToolOf("filter", chain, ""); got != want {
			t.Errorf("%s: %q, not %q", chain, got, want)
		}
	}
}
