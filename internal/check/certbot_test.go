package check

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/servers"
)

// A renewal by certbot's own server is told of, unless it listens on the target port. The remedy changes that, and its
// undo leaves the file as it was.
func TestCertbotStandalone(t *testing.T) {
	const file = renewals + "/www.example.org.conf"
	for _, c := range []struct{ name, mapping, params, says string }{
		{"standalone", "80:8080", "authenticator = standalone\n", "80 by itself, and Let's Encrypt gets to port 8080"},
		{"another port", "80:8080", "http01_port = 8888\nauthenticator = standalone\n", "on port 8888 by itself"},
		{"a range", "79-81:8079-8081", "authenticator = standalone\n", "to port 8080"},
		{"the target port", "80:8080", "authenticator = standalone\nhttp01_port = 8080\n", ""},
		{"webroot", "80:8080", "authenticator = webroot\n", ""},
		{"80 is not mapped", "443:8443", "authenticator = standalone\n", ""},
		{"UDP", "80:8080/udp", "authenticator = standalone\n", ""},
		{"some clients", "80:8080 --source 10.0.0.0/8", "authenticator = standalone\n", ""},
		{"another host", "80:10.0.0.5:8080", "authenticator = standalone\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := "version = 2.1.0\n[renewalparams]\naccount = x\n" + c.params + "server = y\n"
			root := put(t, map[string]string{file: before})
			look := func() []finding.Finding {
				return certbotStandalone(root, lab.Mappings(t, c.mapping), servers.Found{})
			}
			got := look()
			if c.says == "" {
				expect(t, got, "", "")
				return
			}
			expect(t, got, finding.CertbotStandalone, c.says)
			sh(t, got[0].Remedy)
			expect(t, look(), "", "")
			sh(t, got[0].Undo)
			if after, _ := os.ReadFile(root + "/" + file); string(after) != before {
				t.Errorf("the file is\n%s", after)
			}
		})
	}
}

// Where a server has the target port, certbot could not listen there.
func TestCertbotBesideServer(t *testing.T) {
	root := put(t, map[string]string{renewals + "/a.conf": "authenticator = standalone\n"})
	host := lab.New(t).Host("host")
	host.Echo("tcp", "[::]:8080")
	host.Do(func() {
		mappings := lab.Mappings(t, "80:8080")
		found, err := servers.Find(mappings)
		if err != nil {
			t.Error(err)
		}
		got := certbotStandalone(root, mappings, found)
		expect(t, got, finding.CertbotStandalone, "has; renew it by --webroot")
		if got[0].Remedy != "" {
			t.Errorf("remedy %q", got[0].Remedy)
		}
	})
}

// sh types a command that touches only files.
func sh(t *testing.T, command string) {
	t.Helper()
	if said, err := exec.Command("sh", "-ec", strings.ReplaceAll(command, "sudo ", "")).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, said)
	}
}
