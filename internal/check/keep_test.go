package check

import "testing"

func TestKeepOf(t *testing.T) {
	for remedy, want := range map[string]string{
		"": "",
		"sudo sysctl -w net.ipv4.ip_forward=1": "echo net.ipv4.ip_forward=1 | sudo tee -a " +
			"/etc/sysctl.d/90-portmap.conf",
		"sudo nft insert rule inet filter input accept": "put the rule into the file that makes this table, such as " +
			"/etc/nftables.conf",
		"sudo ip6tables -A INPUT -j ACCEPT": "save the rules as this host does it, such as with " +
			"`sudo netfilter-persistent save`",
		"sudo portmap enable": "",
		"sudo sed -i /x/d /etc/ufw/before.rules && sudo ufw reload": "",
	} {
		if got := keepOf(remedy); got != want {
			t.Errorf("%s: %q", remedy, got)
		}
	}
}
