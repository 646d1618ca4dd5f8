package others

import "strings"

// ToolOf returns whose a rule is, by the names of its table and its chain and by its comment; "" if that is not known.
func ToolOf(table, chain, comment string) string {
	for _, known := range [...]struct{ begins, tool string }{
		{"DOCKER", "Docker"},
		{"KUBE-", "Kubernetes"},
		{"CNI-", "CNI"},
		{"NETAVARK", "Podman"},
		{"LIBVIRT_", "libvirt"},
		{"guest_", "libvirt"},
		{"f2b-", "fail2ban"},
		{"ufw", "ufw"},
		{"PORTMAP", "portmap"},
	} {
		if strings.HasPrefix(chain, known.begins) {
			return known.tool
		}
	}
	tools := map[string]string{
		"firewalld": "firewalld", "docker-bridges": "Docker", "kube-proxy": "Kubernetes", "netavark": "Podman",
		"libvirt_network": "libvirt", "f2b-table": "fail2ban", "fw4": "OpenWrt",
	}
	if tool, known := tools[table]; known {
		return tool
	}
	if firewalldChain(chain) {
		return "firewalld"
	}
	if strings.HasPrefix(comment, "portmap ") {
		return "portmap"
	}
	return ""
}

// firewalldChain reports whether a chain is one that firewalld makes in tables of iptables (FirewallBackend=iptables):
// those to which the built-in chains lead, and those of its zones and policies, which have small letters by default.
func firewalldChain(name string) bool {
	where, of, _ := strings.Cut(name, "_")
	switch where {
	case "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING":
		return of == "direct" || of == "dnat" || strings.HasPrefix(of, "ZONES") || strings.HasPrefix(of, "POLICIES_")
	case "PRE", "IN", "FWD", "POST":
		return of != "" && of == strings.ToLower(of)
	}
	return false
}

func toolOf(r Rule) string {
	_, table, _ := strings.Cut(r.Table, " ")
	return ToolOf(table, r.Chain, "")
}
