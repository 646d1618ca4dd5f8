package pinhole

import (
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

const undoOf443 = `sudo nft -a list chain inet filter input | sed -n 's|.*comment "portmap 443/tcp" # handle ` +
	`|delete rule inet filter input handle |p' | sudo nft -f -`

// The remedy is for the connections of the mappings only, and the undo for the remedy only.
func TestCommands(t *testing.T) {
	table := Place{Program: "nft", Table: "inet filter", Chain: "input"}
	before, last := table, table
	before.Before, last.Last = 7, true
	input := Place{Program: "iptables-nft", Table: "filter", Chain: "INPUT"}
	forward := Place{Program: "ip6tables-legacy", Table: "filter", Chain: "FORWARD", Before: 3}
	for _, c := range []struct {
		name         string
		mappings     string // with & between them
		pass         Connections
		at           Place
		remedy, undo string
	}{
		{"nft", "443:8443", Connections{}, table,
			`sudo nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst 443 accept ` +
				`comment '"portmap 443/tcp"'`, undoOf443},
		{"nft, before a rule", "443:8443", Connections{}, before, `sudo nft insert rule inet filter input handle 7 ` +
			`meta l4proto tcp ct status dnat ct original proto-dst 443 accept comment '"portmap 443/tcp"'`, undoOf443},
		{"nft, behind all, not translated", "443:8443", Connections{Early: true}, last,
			`sudo nft add rule inet filter input tcp dport 443 fib daddr type local accept ` +
				`comment '"portmap 443/tcp"'`, undoOf443},
		{"nft, not translated, one address", "[2001:db8::7]:443:8443",
			Connections{Early: true, Family: rules.IPv6}, before,
			`sudo nft insert rule inet filter input handle 7 ip6 daddr 2001:db8::7 tcp dport 443 accept ` +
				`comment '"portmap 2001:db8::7 443/tcp"'`,
			strings.Replace(undoOf443, "443/tcp", "2001:db8::7 443/tcp", 1)},
		{"iptables, not translated, one address", "192.0.2.7:443:8443", Connections{Early: true},
			Place{Program: "iptables-nft", Table: "raw", Chain: "PREROUTING"},
			"sudo iptables-nft -t raw -I PREROUTING -d 192.0.2.7 -p tcp --dport 443 -j ACCEPT",
			"sudo iptables-nft -t raw -D PREROUTING -d 192.0.2.7 -p tcp --dport 443 -j ACCEPT"},
		{"nft, servers elsewhere", "443:10.0.0.5:8443,10.0.0.6:9443", Connections{}, table,
			`sudo nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst 443 ` +
				`ct reply ip saddr 10.0.0.5 ct reply proto-src 8443 accept comment '"portmap 443/tcp"' && ` +
				`sudo nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst 443 ` +
				`ct reply ip saddr 10.0.0.6 ct reply proto-src 9443 accept comment '"portmap 443/tcp"'`, undoOf443},
		{"nft, one of several has the protocol", "53:5353/udp & 443:8443", Connections{}, table,
			`sudo nft insert rule inet filter input meta l4proto tcp ct status dnat ct original proto-dst 443 accept ` +
				`comment '"portmap 443/tcp"'`, undoOf443},
		{"nft, several", "80:8080 & 443:8443", Connections{}, table,
			`sudo nft insert rule inet filter input meta l4proto tcp ct status dnat accept comment '"portmap tcp"'`,
			strings.Replace(undoOf443, " 443/", " ", 1)},
		{"nft, a name that it reads otherwise", "443:8443", Connections{},
			Place{Program: "nft", Table: "inet filter", Chain: "a;b"}, "", ""},
		{"nobody has the protocol", "443:8443", Connections{Protocol: rules.UDP}, table, "", ""},
		{"nobody has the family", "443:8443 -4", Connections{Family: rules.IPv6}, table, "", ""},
		{"iptables, a range", "440-443:8440-8443/tcp,udp", Connections{Protocol: rules.UDP}, input,
			"sudo iptables-nft -I INPUT -p udp -m conntrack --ctstate DNAT --ctorigdstport 440:443 -j ACCEPT",
			"sudo iptables-nft -D INPUT -p udp -m conntrack --ctstate DNAT --ctorigdstport 440:443 -j ACCEPT"},
		{"iptables, a server elsewhere", "443:[2001:db8::5]:8443", Connections{Family: rules.IPv6}, forward,
			"sudo ip6tables-legacy -I FORWARD 3 -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 " +
				"--ctreplsrc 2001:db8::5 --ctreplsrcport 8443 -j ACCEPT",
			"sudo ip6tables-legacy -D FORWARD -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 " +
				"--ctreplsrc 2001:db8::5 --ctreplsrcport 8443 -j ACCEPT"},
		{"iptables, not translated, an odd name", "443:8443", Connections{Early: true},
			Place{Program: "iptables-nft", Table: "raw", Chain: "a b", Last: true},
			"sudo iptables-nft -t raw -A 'a b' -p tcp --dport 443 -m addrtype --dst-type LOCAL -j ACCEPT",
			"sudo iptables-nft -t raw -D 'a b' -p tcp --dport 443 -m addrtype --dst-type LOCAL -j ACCEPT"},
		{"ufw, a server elsewhere", "443:10.0.0.5:8443", Connections{}, Place{Program: "ufw"},
			"sudo sed -i '/^# End required lines/a -A ufw-before-forward -p tcp -m conntrack --ctstate DNAT " +
				"--ctorigdstport 443 --ctreplsrc 10.0.0.5 --ctreplsrcport 8443 -j ACCEPT' /etc/ufw/before.rules && " +
				"sudo ufw reload",
			"sudo sed -i '/^-A ufw-before-forward -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 " +
				"--ctreplsrc 10.0.0.5 --ctreplsrcport 8443 -j ACCEPT$/d' /etc/ufw/before.rules && sudo ufw reload"},
	} {
		c.pass.Mappings = lab.Mappings(t, strings.Split(c.mappings, " & ")...)
		if c.pass.Family == 0 {
			c.pass.Family = rules.IPv4
		}
		if c.pass.Protocol == (Connections{}).Protocol {
			c.pass.Protocol = rules.TCP
		}
		var got Commands
		got.Let(c.pass, c.at)
		if got.Remedy != c.remedy || got.Undo != c.undo {
			t.Errorf("%s:\n%s\n%s\nwant\n%s\n%s", c.name, got.Remedy, got.Undo, c.remedy, c.undo)
		}
	}
}

// A rule for both families is made once, and ufw is reloaded once, after its files were written.
func TestCommandsOfBothFamilies(t *testing.T) {
	m := lab.Mappings(t, "443:8443")
	for program, want := range map[string]struct{ commands, reloads int }{"nft": {1, 0}, "ufw": {3, 1}} {
		var c Commands
		for _, family := range m[0].Families().Each() {
			c.Let(Connections{Mappings: m, Family: family, Protocol: rules.TCP},
				Place{Program: program, Table: "inet filter", Chain: "input"})
		}
		for _, text := range []string{c.Remedy, c.Undo} {
			list := strings.Split(text, " && ")
			if len(list) != want.commands || strings.Count(text, "reload") != want.reloads ||
				want.reloads > 0 && list[len(list)-1] != "sudo ufw reload" {
				t.Errorf("%s: %q", program, list)
			}
		}
	}
}
