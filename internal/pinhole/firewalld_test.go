package pinhole

import (
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// firewalld forwards what the mapping does, and no more, once for both families of a packet; only the chain of
// StrictForwardPorts has a cure.
func TestFirewalld(t *testing.T) {
	for line, want := range map[string][]string{
		"443:8443": {"rule family=ipv4 forward-port port=443 protocol=tcp to-port=8443",
			"rule family=ipv6 forward-port port=443 protocol=tcp to-port=8443"},
		"443-445:8443-8445 -6": {"rule family=ipv6 forward-port port=443-445 protocol=tcp to-port=8443-8445"},
		"192.0.2.1:443:10.0.0.5:8443,10.0.0.6:8443": {"rule family=ipv4 destination address=192.0.2.1 forward-port " +
			"port=443 protocol=tcp to-port=8443 to-addr=10.0.0.5"},
	} {
		var strict, other Commands
		for _, family := range rules.BothFamilies.Each() {
			pass := Connections{Mappings: lab.Mappings(t, line), Family: family, Protocol: rules.TCP}
			strict.Let(pass, Place{Program: "firewalld", Chain: "filter_INPUT_dnat"})
			other.Let(pass, Place{Program: "firewalld", Chain: "filter_INPUT"})
		}
		if other != (Commands{}) {
			t.Errorf("what firewalld was told to reject has a cure: %+v", other)
		}
		for verb, text := range map[string]string{"add": strict.Remedy, "remove": strict.Undo} {
			rules, permanent := strings.Count(text, "--"+verb+"-rich-rule="), strings.Count(text, " --permanent ")
			if rules != 2*len(want) || permanent != 1 {
				t.Errorf("%d rules, %d times permanent: %s", rules, permanent, text)
			}
			for _, rule := range want {
				if strings.Count(text, "="+rule+"'") != 2 {
					t.Errorf("not twice %q: %s", rule, text)
				}
			}
		}
	}
}
