package switches

import (
	"fmt"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/shell"
	"portmap/rules"
	"portmap/rules/facts"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Advise returns what a person should know of added mappings to other hosts: whom their servers see, that this host
// sends nothing on, and that with IPv6 forwarding it does not listen to routers any more. Typed returns a command of
// portmap, to be pasted.
func Advise(added []rules.Mapping, typed func(words ...string) string) (advice []finding.Finding) {
	var forwards rules.Families
	for _, m := range added {
		families := facts.RemoteFamilies(&m)
		if families == 0 {
			continue
		}
		advice = append(advice, finding.Finding{
			ID: finding.SourceHidden, Mapping: m,
			Text: fmt.Sprintf("the server behind %s sees an address of this host as that of its clients", m.Spec()),
		})
		if m.Forward() {
			forwards |= families
			continue
		}
		var names []string
		for _, f := range families.Each() {
			name := map[rules.Families]string{rules.IPv4: Forward4, rules.IPv6: Forward6}[f]
			if len(Off([]string{name})) > 0 {
				names = append(names, Sysctl(name))
			}
		}
		if len(names) > 0 {
			advice = append(advice, finding.Finding{
				ID: finding.ForwardingOff, Mapping: m,
				Text: fmt.Sprintf("this host sends nothing on to other hosts, since %s is 0: "+
					"%s does not work from outside", strings.Join(names, " and "), m.Spec()),
				Remedy: typed(withForward(m)...),
			})
		}
	}
	if forwards.Has(rules.IPv6) {
		advice = append(advice, routerIgnored()...)
	}
	return advice
}

// withForward returns the words of the command that adds --forward to a mapping.
func withForward(m rules.Mapping) []string {
	return append([]string{"add", "--replace", "--forward"}, strings.Fields(m.String())...)
}

// routerIgnored tells of interfaces that have a route from a router's advertisement. With forwarding, the kernel takes
// no more of these unless accept_ra is 2 (Documentation/networking/ip-sysctl.rst), and the route expires.
func routerIgnored() (advice []finding.Finding) {
	routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Protocol: unix.RTPROT_RA},
		netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil // not to be found out
	}
	told := map[int]bool{}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil || told[r.LinkIndex] {
			continue
		}
		told[r.LinkIndex] = true
		name := link.Attrs().Name
		if value, err := Read("ipv6/conf/" + name + "/accept_ra"); err == nil && value == "1" {
			advice = append(advice, finding.Finding{
				ID: finding.RouterIgnored,
				Text: fmt.Sprintf("with IPv6 forwarding on, %s does not listen to routers any more, and its "+
					"routes from them will expire", rules.Printable(name)),
				Remedy: shell.Join("sudo", "sysctl", "-w", "net/ipv6/conf/"+name+"/accept_ra=2"),
			})
		}
	}
	return advice
}
