package integration

import (
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/lab"
)

// Somebody else publishes the port that is mapped, in the way of Docker: the mapping wins, whoever came first. After a
// reboot the order may be another one.
func TestSameWinnerInEveryOrder(t *testing.T) {
	b := backends()[0]
	for _, foreign := range [...]struct{ name, script string }{
		{"nft", `nft -f - <<'END'
			table ip nat {
				chain DOCKER { tcp dport 443 counter redirect to :7443; }
				chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local counter jump DOCKER; }
				chain OUTPUT { type nat hook output priority -100; fib daddr type local counter jump DOCKER; }
			}
			END`},
		{"iptables-nft", publish("iptables-nft")},
		{"iptables-legacy", publish("iptables-legacy")},
	} {
		for _, first := range []string{"mapping", "other"} {
			t.Run(foreign.name+", "+first+" first", func(t *testing.T) {
				host, client := b.barePair(t)
				host.Echo("tcp", "192.0.2.1:8443", "192.0.2.1:7443")
				if first == "mapping" {
					b.add(t, host, "443:8443")
				}
				shell(t, host, foreign.script)
				if first == "other" {
					b.add(t, host, "443:8443")
				}
				for _, from := range []*lab.Host{client, host} {
					answer, err := from.Ask("tcp", "", "192.0.2.1:443")
					if err != nil || answer.Server.Port() != 8443 {
						t.Errorf("from %s: %+v, %v", from.Name, answer, err)
					}
				}
			})
		}
	}
}

// publish has the rules of Docker's shape that take port 443.
func publish(iptables string) string {
	return strings.ReplaceAll(`TOOL -t nat -N DOCKER
		TOOL -t nat -A DOCKER -p tcp --dport 443 -j REDIRECT --to-ports 7443
		TOOL -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		TOOL -t nat -A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER`, "TOOL", iptables)
}

// shell runs a script on a host, line by line, without the tabs before it.
func shell(t *testing.T, h *lab.Host, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-eu")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(script, "\t", ""))
	if r := h.TryCommand(cmd); r.Code != 0 {
		t.Fatalf("%s: %s", script, r.Err)
	}
}
