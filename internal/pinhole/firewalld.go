package pinhole

import (
	"os"
	"strings"
)

// FirewalldConf is the configuration of firewalld.
const FirewalldConf = "/etc/firewalld/firewalld.conf"

// Firewalld has firewalld let pass what is translated, as it does unless StrictForwardPorts is set
// (firewalld.conf(5)). What it rejects else was meant so, and there are no commands.
func Firewalld(file string) (c Commands) {
	content, _ := os.ReadFile(file)
	if !strings.Contains("\n"+string(content), "\nStrictForwardPorts=yes") {
		return c
	}
	set := func(from, to string) string {
		return "sudo sed -i s/^StrictForwardPorts=" + from + "/StrictForwardPorts=" + to + "/ " + file
	}
	c.add(set("yes", "no"), set("no", "yes"))
	c.add("sudo firewall-cmd --reload", "sudo firewall-cmd --reload")
	return c
}
