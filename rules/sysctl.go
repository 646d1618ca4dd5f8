package rules

// Sysctls returns the switches of the kernel, as sysctl(8) names them, that must be 1 for the mappings over some
// families. A backend sets none of them.
func (s Set) Sysctls(families Families) (names []string) {
	var remote Families
	loopback := false
	for i := range s.mappings {
		remote |= s.mappings[i].RemoteFamilies()
		loopback = loopback || s.mappings[i].ToLoopback()
	}
	for _, c := range [...]struct {
		needed bool
		family Families
		name   string
	}{
		{remote.Has(IPv4), IPv4, "net.ipv4.ip_forward"},
		{remote.Has(IPv6), IPv6, "net.ipv6.conf.all.forwarding"},
		{loopback, IPv4, "net.ipv4.conf.all.route_localnet"},
	} {
		if c.needed && families.Has(c.family) {
			names = append(names, c.name)
		}
	}
	return names
}
