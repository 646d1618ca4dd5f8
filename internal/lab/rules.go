package lab

import (
	"os/exec"
	"regexp"
	"strings"
)

// Ruleset returns every rule of the host, of nftables and of iptables-legacy.
func (h *Host) Ruleset() string {
	h.t.Helper()
	all := h.Run("nft", "list", "ruleset")
	for _, save := range [...]string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		all += h.Run(save, "-c")
	}
	// Comments have the time, chains count packets, and whoever lists a table of iptables-legacy makes it.
	all = regexp.MustCompile(`(?m)^[#:].*\n`).ReplaceAllString(all, "")
	return regexp.MustCompile(`(?m)^\*[a-z]+\nCOMMIT\n`).ReplaceAllString(all, "")
}

// Foreign returns all foreign rules of the host without counters, of nftables and of iptables-legacy. It leaves out the
// chains that iptables makes before any rule.
func (h *Host) Foreign() string {
	h.t.Helper()
	all := h.Run("nft", "-s", "list", "ruleset")
	for _, save := range [...]string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		all += h.Run(save)
	}
	const own = `PORTMAP(?:-TEXT|-INVALID|-MASQ|-LOOPBACK|-REFUSE|` +
		`-(?:M?TCP|M?UDP|LISTEN|TARGET|SERVER|(?:OWNER|HIDE)(?:-[TU])?)[-0-9]*|-[PSA][0-9a-f]{16})?`
	for _, ours := range [...]string{
		`(?ms)^table inet portmap \{\n.*?^\}\n`, // nft
		// iptables-nft, as nft lists it
		`(?ms)^\tchain ` + own + ` \{\n.*?^\t\}\n\n?`, `(?m)^\t\t.* jump ` + own + `\n`,
		`(?m)^\tchain [A-Z]+ \{\n\t\ttype (?:nat|filter|route) hook [a-z]+ priority [-a-z0-9]+; ` +
			`policy accept;\n\t\}\n\n?`,
		`(?m)^table ip6? (?:nat|mangle|filter) \{\n\}\n`,
		`(?m)^#.*\n`, `\[\d+:\d+\]`, // iptables-legacy
		`(?m)^:` + own + ` .*\n`, `(?m)^-A ` + own + ` .*\n`, `(?m)^-A .* -j ` + own + `\n`,
		`(?m)^:[A-Z]+ ACCEPT \n`, `(?m)^\*(?:nat|mangle|filter)\nCOMMIT\n`,
	} {
		all = regexp.MustCompile(ours).ReplaceAllString(all, "")
	}
	return strings.ReplaceAll(all, "\t}\n\n}", "\t}\n}")
}

// SeedForeign adds foreign rules: by nft, tables like those of firewalld and ufw; by iptables, rules like Docker's.
func (h *Host) SeedForeign() {
	h.t.Helper()
	Need(h.t, "nft", "iptables")
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(foreignTables)
	if r := h.TryCommand(cmd); r.Code != 0 {
		h.t.Fatalf("lab: %s", r.Err)
	}
	for _, tool := range [...]string{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"} {
		for _, chain := range [...]string{"DOCKER", "PORTMAP-x"} {
			h.Run(tool, "-t", "nat", "-N", chain)
		}
		h.SeedJumps(tool)
	}
}

// SeedJumps adds rules like Docker's, and a chain with a name that resembles ours.
func (h *Host) SeedJumps(iptables string) {
	h.t.Helper()
	loopback, container := "127.0.0.0/8", "172.17.0.2:80"
	if strings.HasPrefix(iptables, "ip6") {
		loopback, container = "::1/128", "[fd00::2]:80"
	}
	for _, line := range [...]string{
		"-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
		"-A OUTPUT ! -d " + loopback + " -m addrtype --dst-type LOCAL -j DOCKER",
		"-A DOCKER -p tcp --dport 8088 -j DNAT --to-destination " + container,
		"-A PORTMAP-x -p tcp --dport 99 -j RETURN",
		"-A PREROUTING -p tcp --dport 98 -j PORTMAP-x",
	} {
		h.Run(iptables, append([]string{"-t", "nat"}, strings.Fields(line)...)...)
	}
}

const foreignTables = `
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		tcp dport 22 accept
	}
	chain nat_PREROUTING {
		type nat hook prerouting priority dstnat + 10; policy accept;
		tcp dport 7000 redirect to :7001
	}
}
table inet portmapper {
	map ports { type inet_service : inet_service; elements = { 1 : 2 } }
}
table ip portmap {
	chain prerouting { type nat hook prerouting priority dstnat; policy accept; tcp dport 7002 redirect to :7003; }
}
table ip6 ufw6 {
	set trusted { type ipv6_addr; flags interval; elements = { 2001:db8:1::/48 } }
	chain before-input { type filter hook input priority filter; policy accept; ip6 saddr @trusted accept; }
}
`
