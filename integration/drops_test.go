package integration

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// firewall is a chain on the way to the host's servers that drops by its policy, made with the backend's own tools.
func (b backend) firewall(h interface {
	Run(string, ...string) string
}) {
	if b.name != "nft" {
		for _, tool := range b.tools {
			h.Run(tool, "-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")
			h.Run(tool, "-P", "INPUT", "DROP")
		}
		return
	}
	h.Run("nft", "add table inet filter; add chain inet filter input { type filter hook input priority filter; policy "+
		"drop; }; add rule inet filter input ct state { established, related } accept")
}

// What add and list say of a firewall is so, and so is its cure: it lets in what is mapped, and not the target port.
// The host's rules can be saved and loaded with it.
func TestFirewallThatDrops(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.barePair(t)
		host.Echo("tcp", "[::]:8443")
		b.firewall(host)
		p := b.command(t, host)
		const says = "drops what none of its rules accepts, and none accepts port 8443: other hosts do not reach " +
			"443:8443/tcp; "
		var cure string
		for _, args := range [][]string{{"add", "443:8443", "-4"}, {"list"}} {
			r := p.try(args...)
			_, command, found := strings.Cut(r.Err, "to let in what is mapped, and nothing else: ")
			if r.Code != 0 || !found || !strings.Contains(r.Err, says) {
				t.Fatalf("%v says %+v", args, r)
			}
			cure = strings.ReplaceAll(strings.SplitN(command, "\n", 2)[0], "sudo ", "")
		}
		dropped := func(to string) (is bool) {
			client.Do(func() {
				conn, err := net.DialTimeout("tcp", to, 300*time.Millisecond)
				var failed net.Error
				if is = errors.As(err, &failed) && failed.Timeout(); err == nil {
					conn.Close()
				}
			})
			return is
		}
		if !dropped("192.0.2.1:443") {
			t.Error("port 443 is reached, though a firewall drops")
		}
		host.Run("sh", "-c", cure)
		if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Refused {
			t.Errorf("after %s: %+v, %v", cure, answer, err)
		}
		if !dropped("192.0.2.1:8443") {
			t.Errorf("%s opens the target port", cure)
		}
		if r := p.try("list"); r.Code != 0 || r.Err != "" {
			t.Errorf("after it list says %+v", r)
		}
		if b.name == "nft" {
			saved := host.Run("nft", "list", "ruleset")
			host.Run("nft", "flush", "ruleset")
			b.load(t, host, []string{saved})
		}
	})
}
