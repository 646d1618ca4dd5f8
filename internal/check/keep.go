package check

import "strings"

// keepOf says how a remedy lasts over a reboot; "" if it does by itself.
func keepOf(remedy string) string {
	_, setting, isSetting := strings.Cut(remedy, "sysctl -w ")
	setting, _, _ = strings.Cut(setting, " && ")
	switch {
	case isSetting:
		return "echo " + setting + " | sudo tee -a /etc/sysctl.d/90-portmap.conf"
	case strings.HasPrefix(remedy, "sudo nft insert rule"), strings.HasPrefix(remedy, "sudo nft add rule"):
		return "put the rule into the file that makes this table, such as /etc/nftables.conf"
	case strings.HasPrefix(remedy, "sudo iptables"), strings.HasPrefix(remedy, "sudo ip6tables"):
		return "save the rules as this host does it, such as with `sudo netfilter-persistent save`"
	}
	return ""
}
