package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Net is a network of hosts.
type Net struct{ t testing.TB }

// New makes an empty network. Its hosts are gone at the end of the test.
func New(t testing.TB) *Net { return &Net{t} }

// Host is a network namespace.
type Host struct {
	Name string
	t    testing.TB
	ns   netns.NsHandle
	nl   *netlink.Handle
	eth  int // interfaces so far

	kernel Kernel
}

// Host adds a host with only its loopback interface.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	h := &Host{Name: name, t: n.t}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the new namespace
		var err error
		h.ns, err = netns.New()
		made <- err
	}()
	n.must("make a network namespace", <-made)
	n.t.Cleanup(func() { h.ns.Close() })
	var err error
	h.nl, err = netlink.NewHandleAt(h.ns)
	n.must("open rtnetlink", err)
	n.t.Cleanup(h.nl.Close)
	h.Do(func() { err = setSysctls() })
	n.must("set sysctls", err)
	h.up("lo")
	return h
}

// setSysctls turns off duplicate address detection, so that addresses can be used at once, also link-local ones. It
// also turns off the limit on ICMP errors, so that every refused datagram is answered
// (Documentation/networking/ip-sysctl.rst).
func setSysctls() error {
	var errs []error
	for name, value := range map[string]string{"ipv6/conf/default/accept_dad": "0", "ipv4/icmp_ratemask": "0",
		"ipv6/icmp/ratemask": "\n"} {
		errs = append(errs, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0))
	}
	return errors.Join(errs...)
}

// Link joins two hosts by a veth pair. Its ends are called eth0, eth1, ... on each side. The addresses of the first
// host, with their prefix lengths, come before the second host, its own after it. They can be used at once.
func (n *Net) Link(a *Host, rest ...any) (ifaceA, ifaceB string) {
	n.t.Helper()
	var b *Host
	var addresses [2][]string
	side := 0
	for _, arg := range rest {
		switch arg := arg.(type) {
		case *Host:
			b, side = arg, 1
		case string:
			addresses[side] = append(addresses[side], arg)
		}
	}
	ifaceA, ifaceB = a.next(), b.next()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: ifaceA}, PeerName: ifaceB,
		PeerNamespace: netlink.NsFd(int(b.ns))}
	n.must("make a veth pair", a.nl.LinkAdd(veth))
	for i, h := range [...]*Host{a, b} {
		iface := [...]string{ifaceA, ifaceB}[i]
		for _, address := range addresses[i] {
			h.Address(iface, address)
		}
		h.up(iface)
	}
	return ifaceA, ifaceB
}

func (h *Host) next() string {
	name := fmt.Sprintf("eth%d", h.eth)
	h.eth++
	return name
}

func (h *Host) up(iface string) {
	h.t.Helper()
	link, err := h.nl.LinkByName(iface)
	h.must("find "+iface, err)
	h.must("bring up "+iface, h.nl.LinkSetUp(link))
}

// Address gives an interface one more address, such as "192.0.2.7/24", without duplicate address detection.
func (h *Host) Address(iface, address string) {
	h.t.Helper()
	link, err := h.nl.LinkByName(iface)
	h.must("find "+iface, err)
	addr, err := netlink.ParseAddr(address)
	h.must("parse "+address, err)
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD
	}
	h.must("add "+address, h.nl.AddrAdd(link, addr))
}

// Route adds a route to a network, or with "default" to everything, by a neighbour.
func (h *Host) Route(to, via string) {
	h.t.Helper()
	h.Run("ip", "route", "replace", to, "via", via)
}

// Do runs f in the host's network namespace. Sockets that f makes stay the host's.
func (h *Host) Do(f func()) {
	h.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread belongs to the host now, and ends
		err := netns.Set(h.ns)
		defer func() { done <- err }()
		if err == nil {
			err = h.enter()
		}
		if err == nil {
			f()
		}
	}()
	h.must("enter the namespace", <-done)
}

// As is Do for a user of the system: sockets that f makes or accepts, in the goroutine in which it runs, are that
// user's (credentials(7), the filesystem user ID). The user may still do what root may.
func (h *Host) As(uid int, f func()) {
	h.t.Helper()
	h.Do(func() {
		if uid != 0 {
			_, _ = unix.SetfsuidRetUid(uid)
			if now, err := unix.SetfsuidRetUid(-1); err != nil || now != uid { // which changes nothing
				h.t.Errorf("lab: %s: this process cannot be user %d: %v", h.Name, uid, err)
			}
		}
		f()
	})
}

func (n *Net) must(doing string, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("lab: %s: %v", doing, err)
	}
}

func (h *Host) must(doing string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("lab: %s: %s: %v", h.Name, doing, err)
	}
}
