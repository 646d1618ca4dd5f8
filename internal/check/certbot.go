package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"
)

const (
	renewals = "etc/letsencrypt/renewal"
	httpPort = 80 // on which Let's Encrypt asks (RFC 8555, section 8.3)
)

// certbotStandalone tells of certificates whose renewal listens by itself, on a port to which no mapping leads: what
// Let's Encrypt asks on port 80 goes to the target port. root is the folder in the place of /.
func certbotStandalone(root string, mappings []rules.Mapping, found servers.Found) (advice []finding.Finding) {
	files, _ := filepath.Glob(filepath.Join("/", root, renewals, "*.conf"))
	for _, m := range mappings {
		target, here := m.TargetOf(httpPort)
		if !here || !m.Protocols().Has(rules.TCP) || facts.Restricted(&m) || m.Listen().IsLoopback() {
			continue
		}
		for _, file := range files {
			if port, standalone := renewal(file); standalone && port != strconv.Itoa(int(target)) {
				advice = append(advice, standaloneLost(m, target, file, port, found.Of(m)))
			}
		}
	}
	return advice
}

// renewal reads how a certificate is renewed. The port is "" where the file does not say it: then it is 80.
func renewal(file string) (port string, standalone bool) {
	content, _ := os.ReadFile(file)
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "authenticator":
			standalone = value == "standalone"
		case "http01_port":
			port = value
		}
	}
	return port, standalone
}

func standaloneLost(m rules.Mapping, target uint16, file, port string, behind []servers.Server) finding.Finding {
	asked := port
	if asked == "" {
		asked = strconv.Itoa(httpPort)
	}
	f := finding.Finding{
		ID: finding.CertbotStandalone, Mapping: m,
		Text: fmt.Sprintf("certbot cannot renew %s: it listens on port %s by itself, and Let's Encrypt gets to port %d",
			strings.TrimSuffix(filepath.Base(file), ".conf"), rules.Printable(asked), target),
		Seen: file + ": authenticator = standalone",
	}
	if len(behind) > 0 {
		f.Text += fmt.Sprintf(", which %s has; renew it by --webroot", behind[0].Who())
		return f
	}
	if _, err := strconv.ParseUint(asked, 10, 16); err != nil {
		return f
	}
	const key = "http01_port = "
	wanted := key + strconv.Itoa(int(target))
	there, back := "/^authenticator *=/a "+wanted, "/^"+wanted+"$/d"
	if port != "" {
		there, back = "s/^http01_port *=.*/"+wanted+"/", "s/^"+wanted+"$/"+key+port+"/"
	}
	f.Remedy, f.Undo = shell.Join("sudo", "sed", "-i", there, file), shell.Join("sudo", "sed", "-i", back, file)
	return f
}
