package check

import (
	"fmt"
	"net"
	"net/netip"

	"portmap/internal/finding"
	"portmap/internal/shell"
	"portmap/internal/switches"
	"portmap/rules"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ipv6Off tells of a mapping for IPv6 only where IPv6 is off: in the kernel, on every interface, or on that of the
// mapping.
func ipv6Off(k kernel, m rules.Mapping) []finding.Finding {
	if m.Families() != rules.IPv6 || m.Listen().IsLoopback() {
		return nil
	}
	f := finding.Finding{ID: finding.IPv6Off, Mapping: m}
	where, all := m.Interface(), m.Interface() == ""
	if all {
		where = "all"
	}
	name := "ipv6/conf/" + where + "/disable_ipv6"
	switch off := k.setting(name); {
	case k.setting("ipv6/conf/all/disable_ipv6") == "": // ipv6.disable=1, or no IPv6 at all
		f.Text = fmt.Sprintf("this kernel has no IPv6, and %s is for IPv6 only", m.Spec())
		f.Seen = "there is no /proc/sys/net/ipv6"
	case off == "1" && (!all || !k.hasIPv6()):
		f.Text = fmt.Sprintf("IPv6 is off, and %s is for IPv6 only", m.Spec())
		f.Seen = name + " is 1"
		f.Remedy, f.Undo = sysctl(name, "0"), sysctl(name, "1")
	default:
		return nil
	}
	return []finding.Finding{f}
}

// switchedOff tells of a switch that a live mapping needs, and that is off. apply remembers that it was, so it is off
// again without the mapping. One that sysctl has set would stay on, without the rules that make it harmless. What else
// apply would change has no undo here.
func (r *Request) switchedOff(m rules.Mapping) (advice []finding.Finding) {
	for _, name := range switches.Off(switches.Needed([]rules.Mapping{m})) {
		f := finding.Finding{
			ID: finding.SwitchOff, Mapping: m,
			Text:   fmt.Sprintf("%s is 0, and %s needs it", switches.Sysctl(name), m.Spec()),
			Remedy: r.Typed("apply"),
		}
		if r.Listing.InStep() {
			f.Undo = sysctl(name, "0")
		}
		advice = append(advice, f)
	}
	return advice
}

// hasIPv6 reports whether an interface has an IPv6 address, other than that of loopback.
func (k kernel) hasIPv6() bool {
	for _, fields := range k.table("if_inet6") { // address, index, prefix length, scope, flags, name
		if len(fields) == 6 && fields[5] != "lo" {
			return true
		}
	}
	return false
}

// interfaceDown tells of an interface, named by the mapping or with its listen address, that is down. Packets for an
// address can also come in on another interface while its own has no carrier.
func interfaceDown(m rules.Mapping) (advice []finding.Finding) {
	if name := m.Interface(); name != "" {
		link, err := netlink.LinkByName(name)
		switch {
		case err != nil: // it is absent, which is another finding
		case link.Attrs().Flags&net.FlagUp == 0:
			advice = append(advice, down(m, name, "on which the mapping's packets arrive"))
		case link.Attrs().RawFlags&unix.IFF_RUNNING == 0:
			advice = append(advice, finding.Finding{
				ID: finding.InterfaceDown, Mapping: m,
				Text: fmt.Sprintf("interface %s, on which the mapping's packets arrive, has no carrier: what it is "+
					"connected to is off or missing", rules.Printable(name)),
				Seen: "ip link show " + shell.Quote(name) + ": NO-CARRIER",
			})
		}
	}
	if link := linkOf(m.Listen()); link != nil && link.Flags&net.FlagUp == 0 && link.Name != m.Interface() {
		advice = append(advice, down(m, link.Name, "which has the listen address "+m.Listen().String()+","))
	}
	return advice
}

func down(m rules.Mapping, name, what string) finding.Finding {
	return finding.Finding{
		ID: finding.InterfaceDown, Mapping: m,
		Text:   fmt.Sprintf("interface %s, %s is down", rules.Printable(name), what),
		Seen:   "ip link show " + shell.Quote(name) + ": no UP",
		Remedy: shell.Join("sudo", "ip", "link", "set", name, "up"),
		Undo:   shell.Join("sudo", "ip", "link", "set", name, "down"),
	}
}

// linkOf returns the interface that has an address; nil if none has, or for the zero Addr.
func linkOf(address netip.Addr) *netlink.LinkAttrs {
	if !address.IsValid() {
		return nil
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil
	}
	for _, a := range all {
		if own, ok := netip.AddrFromSlice(a.IP); !ok || own.Unmap() != address {
			continue
		}
		if link, err := netlink.LinkByIndex(a.LinkIndex); err == nil {
			return link.Attrs()
		}
	}
	return nil
}
